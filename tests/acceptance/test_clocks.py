"""Clocks that are wrong: those of nodes, that of the daemon's machine, and a machine that stands still."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.killing import daemon, relay
from tests.acceptance.killing import sender as sender_of_its_own
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until

__all__ = ["daemon", "relay", "sender_of_its_own"]

NODE_CLOCKS: list[Any] = [-60, -10, -3, 5, 60, [-60, 60]]


# ---- nodes


@pytest.mark.parametrize("seconds", NODE_CLOCKS, ids=str)
def test_one_request_for_a_running_task_leads_to_one_execution(
    seconds: Any, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(nodeClockSeconds=seconds)
    task = qlik.task(durationSeconds=1)
    running = qlik.begin(task)
    topic = sender.send({"taskId": task})
    assert sender.answer(topic)["tasksQueued"][0]["behind"] == running
    until(lambda: len(qlik.execution_ids(task)) == 2, what="the request led to an execution")
    qlik.until_idle(task)
    sender.drain()
    assert (qlik.executions(task), len(qlik.start_calls(task))) == (2, 2)


@pytest.mark.parametrize("seconds", NODE_CLOCKS, ids=str)
def test_an_execution_that_began_before_the_request_is_not_adopted(
    seconds: Any, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(nodeClockSeconds=seconds)
    task = qlik.task(result="never")
    assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
    running = qlik.begin(task)
    assert sender.ask({"taskId": task})["tasksQueued"][0]["behind"] == running
    qlik.end(task)
    until(lambda: len(qlik.execution_ids(task)) == 2, what="the request led to an execution")
    qlik.end(task)


@pytest.mark.parametrize("seconds", NODE_CLOCKS, ids=str)
def test_a_start_whose_answer_was_lost_is_adopted_whatever_the_stamps_say(
    seconds: Any, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(nodeClockSeconds=seconds)
    task = qlik.task()
    qlik.fault("cut", method="POST", taskId=task, when="after")
    [entry] = sender.ask({"taskId": task})["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)


@pytest.mark.parametrize("date", ["constant", "missing"])
def test_a_date_header_that_tells_nothing_changes_nothing(
    date: str, make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    qlik.switch(dateHeader=date, nodeClockSeconds=-60)
    make_daemon(broker.port).start()
    task = qlik.task(durationSeconds=1)
    with Sender(broker.port) as sender:
        running = qlik.begin(task)
        assert sender.ask({"taskId": task})["tasksQueued"][0]["behind"] == running
        until(lambda: len(qlik.execution_ids(task)) == 2, what="the request led to an execution")
        qlik.until_idle(task)
        qlik.fault("cut", method="POST", taskId=task, when="after")
        [entry] = sender.ask({"taskId": task}, seconds=40)["tasksStarted"]
    assert (entry["executionId"], entry["adopted"]) == (qlik.execution_ids(task)[-1], True)
    assert qlik.executions(task) == 3


# ---- the daemon's machine


class FakeTime:
    """Lets the clock of a process differ from the machine's, at any time (libfaketime)."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is missing: apt-get install faketime"
        self._library = str(found[0])
        self._file = folder / "faketime"
        self.set("+0")

    def start(self, daemon: Daemon, *, ready: bool = True) -> Daemon:
        """Start the daemon with this clock."""
        return daemon.start(
            ready=ready,
            LD_PRELOAD=self._library,
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )

    def set(self, ahead: str) -> None:
        self._file.write_text(ahead)


@pytest.fixture
def fake_time(tmp_path: Path) -> FakeTime:
    return FakeTime(tmp_path)


@pytest.mark.parametrize(("ahead", "certificates_valid"), [("+40d", True), ("-20000d", False)])
def test_a_clock_that_jumps_and_comes_back_forgets_no_request_id(
    ahead: str,
    certificates_valid: bool,
    fake_time: FakeTime,
    make_daemon: Callable[..., Daemon],
    broker: Mosquitto,
    qlik: Qlik,
) -> None:
    """It jumps while the daemon runs, and is still wrong when the daemon, killed, begins again."""
    task, other = qlik.task(), qlik.task(result="never")
    daemon = make_daemon(broker.port, journal={"retentionDays": 30})
    fake_time.start(daemon)
    with Sender(broker.port) as sender:
        first = sender.ask({"taskId": task, "requestId": "once"})
        qlik.switch(listener="refuse")
        waiting = sender.send({"taskId": other}, MessageExpiryInterval=3600)
        fake_time.set(ahead)
        daemon.wait_log("action=clock_jumped")
        daemon.kill()
        fake_time.start(daemon, ready=False)
        daemon.wait_log("action=clock_")
        qlik.switch(listener="up")
        if certificates_valid:
            assert sender.answer(waiting, seconds=40)["totalTasksStarted"] == 1
        fake_time.set("+0")
        daemon.wait_log("action=clock_followed")
        assert sender.answer(waiting, seconds=40)["totalTasksStarted"] == 1
        assert sender.ask({"taskId": task, "requestId": "once"}) == first
    assert qlik.executions(task) == 1
    qlik.end(other)


def test_a_process_that_stood_still_past_the_deadline_tries_before_it_refuses(
    make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    daemon = make_daemon(broker.port, startTask={"requestDeadlineSeconds": 6}).start()
    with Sender(broker.port) as sender:
        qlik.switch(listener="refuse")
        topic = sender.send({"taskId": task})
        daemon.wait_log("requests wait for Qlik Sense")
        daemon.signal(signal.SIGSTOP)
        over = time.monotonic() + 8
        qlik.switch(listener="up")
        until(lambda: time.monotonic() > over, what="the deadline is over")
        daemon.signal(signal.SIGCONT)
        assert sender.answer(topic)["totalTasksStarted"] == 1
