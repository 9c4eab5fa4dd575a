"""Journals of tests on the outbox."""

from __future__ import annotations

from tests.pipeline.fixtures import journal

#: Fixtures are found here as well.
__all__ = ["journal"]
