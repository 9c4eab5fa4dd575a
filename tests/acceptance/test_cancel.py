"""Requests taken back through a real broker on a real server, with the daemon killed in between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests import programs
from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.acceptance.task_events import event, soon, until_begun
from tests.brokers import Mosquitto, until

REQUESTS = "SELECT request_id FROM requests"
OPEN = "SELECT id FROM runs WHERE state IN ('intended', 'posted')"


@pytest.fixture(scope="module")
def stopping(qlik_server: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A daemon whose configuration lets a cancel stop executions."""
    folder = tmp_path_factory.mktemp("stopping")
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker", persistent=True))
        daemon = Daemon(folder / "daemon", qlik_server, broker, startTask={"allowStop": True})
        stack.callback(daemon.close)
        daemon.start()
        sender = stack.enter_context(Sender(broker.port, client_id="erp"))
        yield Place("5", broker, daemon, sender)


def ids(reply: dict[str, Any], name: str) -> list[str]:
    return [entry["taskId"] for entry in reply.get(name, ())]


def cancel(place: Place, request_id: str, **fields: Any) -> dict[str, Any]:
    return place.sender.ask({"requestId": f"cancel-{request_id}", "cancel": request_id, **fields})


def stops(qlik: Qlik, task: str) -> int:
    calls = qlik.admin("GET", f"/calls?method=POST&path=/task/{task}/stop&limit=20000")["calls"]
    return len(calls)


def test_what_waits_for_its_time_is_taken_back(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    place, name = each, f"timed-{task}"
    place.sender.ask({"requestId": name, "taskId": task, "notBefore": soon(3600)})
    assert ids(cancel(place, name), "tasksCancelled") == [task]
    assert event(place.sender, name, "cancelled")["code"] == "cancelled"
    assert qlik.posts(task) == 0


def test_a_request_of_which_nothing_began_is_refused_as_cancelled(place: Place, qlik: Qlik) -> None:
    task = qlik.task()
    name = f"down-{task}"
    busy = qlik.fault("status", status=429, method="POST", taskId=task, count=None)
    place.sender.publish({"requestId": name, "taskId": task})
    until(lambda: qlik.struck(busy), what="the server takes no start")
    assert cancel(place, name)["status"] == "ok"
    qlik.calm()
    got = place.sender.wait(lambda got: got.topic == REPLY and f'"{name}"'.encode() in got.payload)
    assert got.json["code"] == "cancelled"
    assert qlik.executions(task) == 0


def test_an_unknown_request_is_said_to_be_unknown(place: Place) -> None:
    assert cancel(place, "nobody-knows-me")["code"] == "unknown_request"


def test_stopping_is_forbidden_by_default(place: Place, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    place.sender.ask({"requestId": f"kept-{task}", "taskId": task})
    assert cancel(place, f"kept-{task}", stopRunning=True)["code"] == "forbidden"
    assert stops(qlik, task) == 0
    qlik.end(task)


def test_what_the_request_alone_began_is_stopped(stopping: Place, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    name = f"stopped-{task}"
    stopping.sender.ask({"requestId": name, "taskId": task})
    [entry] = cancel(stopping, name, stopRunning=True)["tasksStopped"]
    assert entry["executionId"] == qlik.execution_ids(task)[0]
    assert event(stopping.sender, name)["event"] == "aborted"
    assert stops(qlik, task) == 1


def test_a_shared_execution_is_not_stopped(stopping: Place, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    qlik.begin(task)
    for name in ("mine", "other"):
        stopping.sender.ask({"requestId": f"{name}-{task}", "taskId": task})
    qlik.end(task)
    until_begun(qlik, task, 2)
    event(stopping.sender, f"mine-{task}", "started")
    [entry] = cancel(stopping, f"mine-{task}", stopRunning=True)["tasksRunning"]
    assert entry["sharedWith"] == [f"other-{task}"]
    assert stops(qlik, task) == 0
    qlik.end(task)


def test_a_daemon_killed_while_it_stops_an_execution_stops_it_once(stopping: Place, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    name = f"killed-{task}"
    stopping.sender.ask({"requestId": name, "taskId": task})
    hold = qlik.fault("hang", method="POST", taskId=task, when="before", seconds=30)
    stopping.sender.publish({"requestId": f"cancel-{name}", "cancel": name, "stopRunning": True})
    until(lambda: qlik.struck(hold), what="the stop is on its way")
    stopping.daemon.kill()
    stopping.daemon.start()
    got = stopping.sender.wait(
        lambda got: got.topic == REPLY and f'"cancel-{name}"'.encode() in got.payload, what=name
    )
    assert ids(got.json, "tasksStopped") == [task]
    assert event(stopping.sender, name)["event"] == "aborted"
    assert qlik.executions(task) == 1


def test_a_daemon_killed_with_a_cancelled_start_in_doubt_does_not_post_it_again(
    stopping: Place, qlik: Qlik
) -> None:
    task = qlik.task()
    name = f"doubt-{task}"
    hold = qlik.fault("cut", when="before", method="POST", taskId=task, count=None)
    stopping.sender.publish({"requestId": name, "taskId": task})
    until(lambda: qlik.struck(hold), what="the start is in doubt")
    stopping.daemon.wait_row(OPEN)
    stopping.sender.publish({"requestId": f"cancel-{name}", "cancel": name})
    until(lambda: (f"cancel-{name}",) in stopping.daemon.rows(REQUESTS), what="the cancel is on disk")
    stopping.daemon.kill()
    qlik.calm()
    stopping.daemon.start()
    got = stopping.sender.wait(
        lambda got: got.topic == REPLY and f'"cancel-{name}"'.encode() in got.payload, what=name
    )
    assert ids(got.json, "tasksCancelled") == [task]
    assert qlik.executions(task) == 0


def test_the_command_cancels_and_stops(stopping: Place, qlik: Qlik) -> None:
    task = qlik.task("Stopped by hand", result="never")
    stopping.sender.ask({"requestId": f"cli-{task}", "taskId": task})

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "butler_mqtt", "cancel", "-c"]
        return programs.run([*command, stopping.daemon.config_file, *arguments])

    done = call(f"cli-{task}", "--stop-running")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Stopped by hand" in done.stdout
    assert "stopped" in done.stdout
    again = call(f"cli-{task}", "--json")
    assert json.loads(again.stdout)["tasksCancelled"] == []
    unknown = call("nobody")
    assert unknown.returncode == 1
    assert "unknown_request" in unknown.stdout
