"""The tour, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import until

COMMAND = [sys.executable, "-m", "butler_mqtt", "demo", "--broker"]
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start tours whose folder is below the test's own."""
    tours: list[subprocess.Popen[str]] = []

    def run(broker: str) -> subprocess.Popen[str]:
        tour = subprocess.Popen(
            [*COMMAND, broker],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        tours.append(tour)
        return tour

    yield run
    for tour in tours:
        tour.kill()
        tour.communicate()


def processes(folder: Path) -> dict[int, str]:
    """Find the processes that work in *folder* or below, with their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has just ended, or belongs to somebody else
            continue
    return found


def read_to(tour: subprocess.Popen[str], text: str) -> None:
    assert tour.stdout is not None
    for line in tour.stdout:
        if text in line:
            return
    raise AssertionError(f"the tour ended before {text!r}")


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_the_tour_succeeds_and_leaves_nothing_behind(broker: str, begin: Begin, tmp_path: Path) -> None:
    tour = begin(broker)
    printed, _ = tour.communicate(timeout=90)
    assert tour.returncode == 0, printed
    assert "Every message answered once, every task started once per request." in printed
    for code in (
        "invalid_task_id",
        '"denied"',
        "task_disabled",
        '"adopted": true',
        "tasksNotFound",
        "previous_stage_failed",
    ):
        assert code in printed
    sent, received, reported, ran = re.findall(r"^ +(\d+)  ", printed, re.MULTILINE)[-4:]
    assert int(sent) >= 14
    assert sent == received
    assert reported == ran
    assert list(tmp_path.iterdir()) == []
    assert processes(tmp_path) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_tour_leaves_nothing_behind(
    number: signal.Signals, begin: Begin, tmp_path: Path
) -> None:
    tour = begin("mosquitto")
    read_to(tour, "1. One task")
    assert len(processes(tmp_path)) == 3
    tour.send_signal(number)
    printed, _ = tour.communicate(timeout=20)
    assert tour.returncode == 130, printed
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []
    assert processes(tmp_path) == {}


def test_a_tour_that_fails_ends_with_1_and_shows_the_logs(begin: Begin, tmp_path: Path) -> None:
    tour = begin("mosquitto")
    read_to(tour, "1. One task")
    broker = next(pid for pid, command in processes(tmp_path).items() if "mosquitto" in command)
    os.kill(broker, signal.SIGKILL)
    printed, _ = tour.communicate(timeout=60)
    assert tour.returncode == 1, printed
    assert "✗" in printed
    for log in ("--- broker", "--- daemon", "--- qlik-simulator"):
        assert log in printed
    until(lambda: processes(tmp_path) == {}, what="all processes are gone")
