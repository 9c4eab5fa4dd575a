"""What the tests of following share: a house stepped by hand, and the rig of the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.settings import Settings
from tests.acceptance.conftest import broker, each, make_daemon, place, places, qlik, qlik_server
from tests.fakes import House, shorten_pauses

#: Fixtures of the acceptance tests are found here as well.
__all__ = [
    "MakeHouse",
    "broker",
    "each",
    "house",
    "make_daemon",
    "make_house",
    "place",
    "places",
    "qlik",
    "qlik_server",
]

MakeHouse = Callable[..., House]


@pytest.fixture
def make_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeHouse]:
    """Give a function that makes a running house of settings, with pauses a test can wait for."""
    shorten_pauses(monkeypatch)
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
