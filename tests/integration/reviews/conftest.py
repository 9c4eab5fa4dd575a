"""Journals of the pipeline, and a Qlik site for the command."""

from __future__ import annotations

from tests.integration.checks.conftest import qrs, simulator, site
from tests.integration.requests.conftest import large_journal
from tests.pipeline.fixtures import harness, make_harness

#: Fixtures are found here as well.
__all__ = ["harness", "large_journal", "make_harness", "qrs", "simulator", "site"]
