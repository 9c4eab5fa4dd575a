"""Journals made by the daemon's core, and the command that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from butler_mqtt.cli import app
from butler_mqtt.journal import retention, tables
from butler_mqtt.settings import Settings
from tests.fakes import House, shorten_pauses
from tests.requests.filling import fill

MakeHouse = Callable[..., House]
#: Requests in the large journal; a tenth of them is older than 30 days.
MANY = 50_000


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that an operator does not configure."""
    shorten_pauses(monkeypatch)
    monkeypatch.setattr(retention, "BETWEEN_SWEEPS_SECONDS", 0.0)


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
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


@pytest.fixture(scope="session")
def large_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a journal with many requests; not to be written."""
    file = tmp_path_factory.mktemp("large") / "journal.sqlite"
    fill(file, MANY, days=33.4)
    return file


def call(*arguments: str | Path) -> Result:
    """Run `butler-mqtt requests` in this process."""
    return CliRunner().invoke(app, ["requests", *map(str, arguments)], prog_name="butler-mqtt")


def lines(done: Result) -> list[Any]:
    """Read what --json printed."""
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def delivered(house: House) -> bool:
    """Confirm what is on its way, and tell whether nothing is left to publish."""
    house.broker.confirm()
    return not house.rows(tables.outbox)
