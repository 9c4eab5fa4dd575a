"""Journals made by the pipeline, and the command that reads them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from butler_mqtt.cli.main import app
from butler_mqtt.journal import tables
from butler_mqtt.journal.retention import PruningPace
from butler_mqtt.pipeline.command_submission import CommandLimits
from tests.acceptance.conftest import broker, make_daemon, qlik, qlik_server
from tests.integration.requests.filling import fill
from tests.pipeline.fixtures import MakeHarness, harness, making
from tests.pipeline.harness import SHORT_LOOP, Harness

#: Fixtures are found here as well.
__all__ = [
    "AT_ONCE",
    "IMPATIENT",
    "SHORT",
    "MakeHarness",
    "beside",
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
    "several",
]

#: Requests in the large journal; a tenth of them is older than 30 days.
MANY = 50_000


#: Without pauses between two sweeps of the journal, and between two steps.
AT_ONCE = PruningPace(rest=0.0, between_sweeps_seconds=0.0)
#: Of commands: pauses that a test can wait for.
SHORT = CommandLimits(poll_seconds=0.01)
#: For a daemon that accepts nothing.
IMPATIENT = CommandLimits(accept_seconds=1.0)


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[MakeHarness]:
    """Return a function that makes a running harness, which prunes at once."""
    yield from making(tmp_path, timings=replace(SHORT_LOOP, pruning=AT_ONCE))


@pytest.fixture(scope="session")
def large_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal with many requests; not to be written."""
    file = tmp_path_factory.mktemp("large") / "journal.sqlite"
    fill(file, MANY, days=33.4)
    return file


def call(*arguments: str | Path, limits: CommandLimits = SHORT) -> Result:
    """Run `butler-mqtt requests` in this process."""
    return CliRunner().invoke(app, ["requests", *map(str, arguments)], prog_name="butler-mqtt", obj=limits)


def beside(harness: Harness, *arguments: str, limits: CommandLimits = SHORT) -> Any:
    """Run the command while the pipeline turns."""
    done: list[Any] = []
    thread = threading.Thread(
        target=lambda: done.append(call(*arguments, "--journal", harness.path, limits=limits))
    )
    thread.start()
    harness.until(lambda: not thread.is_alive(), 20)
    thread.join()
    return done[0]


def several(harness: Harness) -> tuple[str, str]:
    """Make a request of which a task fails, then one that is refused because the first holds its id."""
    harness.site.lasting = False
    failing, other = harness.site.add("Failing"), harness.site.add("Other")
    harness.site.change(failing, enabled=False)
    harness.ask({"taskId": failing, "requestId": "erp-1"})
    assert harness.ask({"taskId": other, "requestId": "erp-1"})["code"] == "request_id_conflict"
    return failing, other


def lines(done: Result) -> list[Any]:
    """Read what --json printed."""
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def delivered(harness: Harness) -> bool:
    """Confirm what is in flight; return whether nothing is left to publish."""
    harness.broker.confirm()
    return not harness.rows(tables.outbox)
