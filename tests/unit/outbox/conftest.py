"""Pauses that a test can wait for."""

from __future__ import annotations

import pytest

from tests.pipeline.fixtures import journal, short_pauses

#: Fixtures are found here as well.
__all__ = ["journal", "short_pauses"]


@pytest.fixture(autouse=True)
def short_pauses_for_all(short_pauses: None) -> None:
    """Shorten the pauses between two tries."""
