"""Fixtures of the pages' tests."""

from __future__ import annotations

from tests.pipeline.fixtures import harness, make_harness

#: Fixtures are found here as well.
__all__ = ["harness", "make_harness"]
