"""A broker, a Qlik site, and journals of rules."""

from __future__ import annotations

from tests.integration.checks.conftest import broker, qrs, simulator, site
from tests.pipeline.rule_fixtures import make_rules

#: Fixtures are found here as well.
__all__ = ["broker", "make_rules", "qrs", "simulator", "site"]
