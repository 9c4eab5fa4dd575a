"""Journals made by the daemon's core, and the command that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from butler_mqtt.cli.main import app
from butler_mqtt.journal import retention, tables
from tests.acceptance.conftest import broker, make_daemon, qlik, qlik_server
from tests.integration.requests.filling import fill
from tests.pipeline.fixtures import MakeHarness, harness, make_harness
from tests.pipeline.harness import Harness

#: Fixtures are found here as well.
__all__ = [
    "MakeHarness",
    "broker",
    "call",
    "delivered",
    "harness",
    "large_journal",
    "lines",
    "make_daemon",
    "make_harness",
    "qlik",
    "qlik_server",
]

#: Requests in the large journal; a tenth of them is older than 30 days.
MANY = 50_000


@pytest.fixture(autouse=True)
def sweep_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pauses between two sweeps of the journal, and between two steps."""
    monkeypatch.setattr(retention, "BETWEEN_SWEEPS_SECONDS", 0.0)
    monkeypatch.setattr(retention, "REST", 0.0)


@pytest.fixture(scope="session")
def large_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal with many requests; not to be written."""
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


def delivered(harness: Harness) -> bool:
    """Confirm what is in flight, and return whether nothing is left to publish."""
    harness.broker.confirm()
    return not harness.rows(tables.outbox)
