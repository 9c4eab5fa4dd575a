"""What the tests of following share: a house stepped by hand, and the acceptance tests' rig for the real thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.settings import Settings
from tests.acceptance.conftest import broker as broker
from tests.acceptance.conftest import make_daemon as make_daemon
from tests.acceptance.conftest import each as each
from tests.acceptance.conftest import place as place
from tests.acceptance.conftest import places as places
from tests.acceptance.conftest import qlik as qlik
from tests.acceptance.conftest import qlik_server as qlik_server
from tests.fakes import House, shorten_pauses

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
