"""The pipeline with everything around it under a test's control, stepped by hand."""

from __future__ import annotations

from tests.pipeline.fixtures import MakeHarness, harness, journal, make_harness
from tests.pipeline.rule_fixtures import MakeRules, make_rules

#: Fixtures are found here as well.
__all__ = ["MakeHarness", "MakeRules", "harness", "journal", "make_harness", "make_rules"]
