"""Starts through the Qlik proxy: sessions that end, tokens that are refused, calls whose answer is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until


class Behind:
    """A daemon whose token file is the test's own, its sender, and the proxy between it and the server."""

    def __init__(self, qlik: Qlik, daemon: Daemon, sender: Sender, token: Path) -> None:
        self.qlik = qlik
        self.daemon = daemon
        self.sender = sender
        self.token = token
        self.user = f"LAB\\{uuid.uuid4()}"
        self.put_token()

    def put_token(self, **fields: Any) -> None:
        """Write a token of the test's own user: other daemons have sessions at the same proxy."""
        made = self.qlik.admin("POST", "/proxy/tokens", {"user": self.user, **fields})
        self.token.write_text(made["token"])

    def end_sessions(self) -> None:
        self.qlik.admin("DELETE", "/proxy/sessions")

    def answer(self, topic: str) -> dict[str, Any]:
        """Wait for the reply on *topic*."""
        found: dict[str, Any] = self.sender.wait(lambda got: got.topic == topic).json
        return found

    def opened(self) -> int:
        """Count the sessions that were opened for its user."""
        return int(self.qlik.admin("GET", "/proxy")["openedBy"].get(self.user, 0))


@pytest.fixture
def behind(
    qlik: Qlik, broker: Mosquitto, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> Iterator[Behind]:
    token = tmp_path / "own.jwt"
    daemon = make_daemon(broker, configQRS={**qlik.login("jwt"), "jwtFile": str(token)})
    with Sender(broker.port, "5") as sender:
        yield Behind(qlik, daemon, sender, token)


def test_many_starts_at_a_time_take_one_session(behind: Behind, qlik: Qlik) -> None:
    behind.daemon.start()
    tasks = qlik.tasks(40)
    answer = behind.sender.ask({"taskId": tasks})
    assert answer["totalTasksStarted"] == len(tasks)
    assert [qlik.executions(task) for task in tasks] == [1] * len(tasks)
    assert behind.opened() == 1


@pytest.mark.parametrize("refusal", ["401", "redirect"])
def test_sessions_that_end_under_way_start_nothing_twice_and_fail_nothing(
    behind: Behind, qlik: Qlik, refusal: str
) -> None:
    qlik.switch(proxyRefusal=refusal)
    behind.daemon.start()
    tasks = qlik.tasks(60)
    topics = []
    for number, task in enumerate(tasks):
        if number % 10 == 0:
            behind.end_sessions()
        topics.append(behind.sender.send({"taskId": task}))
    assert {behind.answer(topic)["status"] for topic in topics} == {"ok"}
    assert [qlik.executions(task) for task in tasks] == [1] * len(tasks)
    # One for each end, and one more where a session ended between its login and its first call.
    assert 2 <= behind.opened() <= 1 + 2 * 6


def test_a_token_that_is_refused_is_an_outage_and_its_request_goes_on_with_a_new_one(
    behind: Behind, qlik: Qlik
) -> None:
    behind.put_token(seconds=-60)
    behind.daemon.start()
    line = behind.daemon.wait_log("the proxy refuses the token of configQRS.jwtFile (401): it expired on")
    assert "WARNING" in line
    task = qlik.task()
    topic = behind.sender.send({"taskId": task, "requestId": "waits-1"})
    behind.daemon.wait_row("SELECT 1 FROM requests WHERE request_id = 'waits-1'")
    behind.put_token()
    assert behind.answer(topic)["status"] == "ok"
    assert qlik.executions(task) == 1
    (call,) = qlik.start_calls(task)
    assert call["user"] == behind.user


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_whose_answer_the_proxy_loses_is_reconciled(behind: Behind, qlik: Qlik, when: str) -> None:
    behind.daemon.start()
    task = qlik.task(durationSeconds=0.5)
    qlik.fault("cut", path=f"*/task/{task}/start*", when=when)
    answer = behind.sender.ask({"taskId": task})
    assert answer["status"] == "ok", answer
    assert qlik.executions(task) == 1


def test_a_daemon_killed_between_intent_and_start_starts_once_behind_the_proxy(
    behind: Behind, qlik: Qlik
) -> None:
    behind.daemon.start()
    task = qlik.task(durationSeconds=0.5)
    fault = qlik.fault("hang", path=f"*/task/{task}/start*", when="after", seconds=30)
    topic = behind.sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the start at the server")
    behind.daemon.kill()
    qlik.admin("DELETE", "/faults")
    behind.end_sessions()
    behind.daemon.start()
    assert behind.answer(topic)["status"] == "ok"
    assert qlik.executions(task) == 1


def test_nothing_of_the_token_reaches_log_or_journal(behind: Behind, qlik: Qlik) -> None:
    behind.daemon.config["logLevel"] = "debug"  # type: ignore[assignment] # a key without a section
    behind.daemon.configure()
    behind.daemon.start()
    behind.sender.ask({"taskId": qlik.task()})
    behind.end_sessions()
    behind.sender.ask({"taskId": qlik.task()})
    behind.daemon.stop()
    secrets = behind.token.read_text().split(".")[1:]
    written = behind.daemon.journal.read_bytes() + (behind.daemon.folder / "log").read_bytes()
    assert not any(part.encode() in written for part in [*secrets, "X-Qlik-Session-butler="])
