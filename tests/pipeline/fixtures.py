"""Fixtures of tests on the daemon's core: running houses, with pauses that a test can wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.settings import Settings
from tests.pipeline.harness import House, shorten_pauses

MakeHouse = Callable[..., House]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that an operator does not configure; their lengths have tests of their own."""
    shorten_pauses(monkeypatch)


@pytest.fixture
def make_house(tmp_path: Path, short_pauses: None) -> Iterator[MakeHouse]:
    """Give a function that makes a running house of settings."""
    houses: list[House] = []

    def make(settings: Settings | None = None) -> House:
        folder = tmp_path / f"house-{len(houses)}"
        folder.mkdir()
        house = House(folder, settings or Settings())
        house.start()
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.pipeline.close()


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    """Give a running house of the default settings."""
    return make_house()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Give an open journal without content."""
    opened = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    opened.open()
    yield opened
    opened.close()
