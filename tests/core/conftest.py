"""The core of the daemon, stepped by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from butler_mqtt.journal.sqlite import Journal
from tests.houses import MakeHouse, house, make_house, short_pauses

#: Fixtures are found here as well.
__all__ = ["MakeHouse", "house", "journal", "make_house", "short_pauses"]


@pytest.fixture(autouse=True)
def short_pauses_for_all(short_pauses: None) -> None:
    """Shorten the pauses in tests without a house too."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give an open journal without content."""
    opened = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    opened.open()
    yield opened
    opened.close()
