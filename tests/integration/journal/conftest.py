"""Journals in real files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.journal.sqlite import Journal
from tests.journals import put_empty

MakeJournal = Callable[..., Journal]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the place of a journal that does not exist yet."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def make_journal(file: Path) -> Iterator[MakeJournal]:
    """Return a function that makes a journal, closed at the end of the test."""
    made: list[Journal] = []

    def make(path: Path = file) -> Journal:
        journal = Journal(f"sqlite:///{path}")
        made.append(journal)
        return journal

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def journal(make_journal: MakeJournal, file: Path) -> Journal:
    """Return an open journal without content."""
    put_empty(file)
    journal = make_journal()
    journal.open()
    return journal
