"""A thread that ends by itself does not go unnoticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from butler_mqtt.daemon.supervisor import Supervisor
from butler_mqtt.errors import JournalError

SECONDS = 10.0


class Rig:
    """A supervisor, and what it reports."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.faults: SimpleQueue[BaseException] = SimpleQueue()
        self.supervisor = Supervisor(self.stop, on_fatal=self.faults.put, on_journal_failed=self.faults.put)

    def ran(self, work: Callable[[], None]) -> None:
        self.supervisor.spawn("worker", work)
        self.supervisor.join(time.monotonic() + SECONDS)


def test_a_thread_that_raises_is_reported_with_its_fault() -> None:
    rig, fault = Rig(), ValueError("broken")

    def work() -> None:
        raise fault

    rig.ran(work)
    assert rig.faults.get(timeout=SECONDS) is fault


def test_a_thread_that_loses_the_journal_is_reported_as_that() -> None:
    rig, lost = Rig(), JournalError("gone")

    def work() -> None:
        raise lost

    rig.ran(work)
    assert rig.faults.get(timeout=SECONDS) is lost


def test_a_thread_that_returns_is_a_fault_unless_the_process_ends() -> None:
    rig = Rig()
    rig.ran(lambda: None)
    assert "worker ended by itself" in str(rig.faults.get(timeout=SECONDS))
    rig.stop.set()
    rig.ran(lambda: None)
    assert rig.faults.empty()


def test_threads_that_hang_and_go_on_are_said_once_each(caplog: pytest.LogCaptureFixture) -> None:
    rig, since = Rig(), [0.0]
    rig.supervisor.progress.watch("worker", lambda: since[0], 1000.0)
    since[0] = time.monotonic() - 2000
    for _ in range(3):
        rig.supervisor.check()
    since[0] = time.monotonic()
    for _ in range(3):
        rig.supervisor.check()
    assert [one.levelname for one in caplog.records] == ["CRITICAL", "WARNING"]
