"""The pipeline with everything around it under a test's control, stepped by hand."""

from __future__ import annotations

from tests.pipeline.fixtures import MakeHarness, harness, journal, make_harness

#: Fixtures are found here as well.
__all__ = ["MakeHarness", "harness", "journal", "make_harness"]
