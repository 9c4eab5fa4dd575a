"""Faults on the way to the server: the truth is told, and nothing is started twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]

#: What becomes of a start whose answer was lost after it had taken effect.
LOST_AFTER: dict[str, dict[str, Any]] = {
    "cut": {"kind": "cut"},
    "closed": {"kind": "cut", "reset": False},
    "half an answer": {"kind": "truncate"},
    "no answer in time": {"kind": "hang", "seconds": 4},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503},
    "504": {"kind": "status", "status": 504},
    "HTML": {"kind": "html"},
    "HTML of a proxy": {"kind": "html", "status": 502},
    "HTML in place of a refusal": {"kind": "html", "status": 400},
    "garbage": {"kind": "garbage"},
    "nothing": {"kind": "empty"},
    "another shape": {"kind": "wrongJson"},
}


def test_starts_whose_answer_is_lost_after_their_effect_are_adopted_and_not_repeated(
    sender: Sender, qlik: Qlik
) -> None:
    tasks = {name: qlik.task(name, result="never") for name in LOST_AFTER}
    for name, task in tasks.items():
        qlik.fault(**LOST_AFTER[name], method="POST", taskId=task, when="after")
    topics = {name: sender.send({"taskId": task}) for name, task in tasks.items()}
    for name, task in tasks.items():
        [entry] = sender.answer(topics[name], seconds=40)["tasksStarted"]
        assert (name, [entry["executionId"]]) == (name, qlik.execution_ids(task))
        assert entry["adopted"] is True, (name, entry)
        assert len(qlik.start_calls(task)) == 1, name
    for task in tasks.values():
        qlik.admin("POST", f"/tasks/{task}/stop")


def test_an_execution_that_has_ended_before_anybody_looked_is_adopted_too(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=0)
    qlik.fault("cut", method="POST", taskId=task, when="after")
    [entry] = sender.ask({"taskId": task}, seconds=30)["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)


def test_starts_that_are_lost_before_their_effect_are_made_good_once(sender: Sender, qlik: Qlik) -> None:
    """Two looks that find nothing, five seconds apart, come before the second POST."""
    faults = {name: fault for name, fault in LOST_AFTER.items() if name != "half an answer"}
    tasks = {name: qlik.task(name) for name in faults}
    for name, task in tasks.items():
        qlik.fault(**faults[name], method="POST", taskId=task, when="before")
    topics = {name: sender.send({"taskId": task}) for name, task in tasks.items()}
    for name, task in tasks.items():
        answer = sender.answer(topics[name], seconds=60)
        assert (name, answer["totalTasksStarted"]) == (name, 1), answer
        assert (name, qlik.executions(task), len(qlik.start_calls(task))) == (name, 1, 2)


def test_a_start_that_takes_effect_late_is_adopted_and_not_repeated(sender: Sender, qlik: Qlik) -> None:
    """
    The connection is given up after two seconds, the server carries the start out after three.

    Fails when a start is repeated after looks that are not five seconds apart.
    """
    task = qlik.task(result="never")
    qlik.fault("slow", method="POST", taskId=task, when="before", seconds=3)
    [entry] = sender.ask({"taskId": task}, seconds=40)["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


@pytest.mark.parametrize("retry_after", [1, None])
def test_a_start_that_was_put_off_with_429_is_repeated(
    retry_after: int | None, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    fields: dict[str, Any] = {} if retry_after is None else {"retryAfter": retry_after}
    qlik.fault("status", status=429, method="POST", taskId=task, count=2, **fields)
    [entry] = sender.ask({"taskId": task}, seconds=30)["tasksStarted"]
    assert "adopted" not in entry
    assert (qlik.executions(task), len(qlik.start_calls(task))) == (1, 3)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "xsrf"}, "qrs_forbidden"),
        ({"kind": "status", "status": 403}, "qrs_forbidden"),
        ({"kind": "status", "status": 401}, "qrs_forbidden"),
        ({"kind": "status", "status": 409}, "qrs_rejected"),
        ({"kind": "status", "status": 400}, "qrs_rejected"),
    ],
)
def test_a_start_that_is_refused_is_told_with_its_code_and_not_repeated(
    fault: dict[str, Any], code: str, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    qlik.fault(**fault, method="POST", taskId=task)
    answer = sender.ask({"taskId": task})
    [entry] = answer["tasksFailed"]
    assert (answer["status"], entry["status"], entry["code"]) == ("failed", "notStarted", code)
    assert len(qlik.start_calls(task)) == 1
    assert qlik.executions(task) == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut"},
        {"kind": "truncate"},
        {"kind": "hang", "seconds": 3, "count": 1},
        {"kind": "status", "status": 429, "retryAfter": 1, "count": 1},
        {"kind": "status", "status": 502},
        {"kind": "status", "status": 503},
        {"kind": "html"},
        {"kind": "html", "status": 400},
        {"kind": "html", "status": 404},
        {"kind": "garbage"},
        {"kind": "empty"},
        {"kind": "wrongJson"},
    ],
    ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}",
)
def test_a_fault_while_finding_tasks_is_not_taken_for_not_found(
    fault: dict[str, Any], sender: Sender, qlik: Qlik
) -> None:
    """An outage is not "not found", and an answer that is no list is not an empty list."""
    task = qlik.task()
    planted = qlik.fault(**{"count": 3, **fault}, method="GET", path="/qrs/*task*")
    answer = sender.ask({"taskId": task}, seconds=40)
    assert answer["totalTasksStarted"] == 1, answer
    assert qlik.struck(planted) >= 1
    assert qlik.executions(task) == 1


@pytest.mark.parametrize(("kind", "status"), [("xsrf", 403), ("status", 403), ("status", 401)])
def test_a_refusal_while_finding_tasks_is_named_as_such(
    kind: str, status: int, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    qlik.fault(kind, status=status, method="GET", path="/qrs/*task*", count=None)
    assert sender.ask({"taskId": task})["code"] == "qrs_forbidden"


@pytest.mark.parametrize("down", ["refuse", "abort"])
def test_a_server_that_is_down_at_start_is_waited_for(
    down: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    qlik.switch(listener=down)
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        topic = sender.send({"taskId": task})
        daemon.wait_log("wait for Qlik Sense")
        assert sender.heard(topic) == []
        qlik.switch(listener="up")
        [entry] = sender.answer(topic, seconds=30)["tasksStarted"]
    assert [entry["executionId"]] == qlik.execution_ids(task)
    assert len(qlik.start_calls(task)) == 1


def test_a_server_that_goes_away_between_finding_and_starting_is_waited_for(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Nothing can have been sent, so that the start may be repeated at once."""
    task = qlik.task()
    # One of its own: lines about an outage come once a minute for each cause.
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
        mark = daemon.mark()
        qlik.switch(listener="refuse")
        topic = sender.send({"taskId": task})
        daemon.wait_log("is not reached", since=mark)
        qlik.switch(listener="up")
        [entry] = sender.answer(topic, seconds=30)["tasksStarted"]
    assert "adopted" not in entry
    assert qlik.executions(task) == 1


def test_a_server_that_is_away_past_the_deadline_is_told_and_the_request_id_is_free_again(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    make_daemon(broker, startTask={"requestDeadlineSeconds": 2}).start()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
        qlik.switch(listener="refuse")
        body = {"requestId": f"away-{task}", "taskId": task}
        unknown = {"requestId": f"away-too-{task}", "tag": f"never-asked-{task}"}
        answers = [sender.answer(topic) for topic in [sender.send(body), sender.send(unknown)]]
        assert [answer.get("code") for answer in answers] == ["qrs_unavailable"] * 2, answers
        assert qlik.posts(task) == 0
        qlik.switch(listener="up")
        assert sender.ask(body)["status"] == "ok"
    assert qlik.executions(task) == 1


def test_a_start_in_doubt_that_can_never_be_read_is_said_to_be_unknown(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Neither "started" nor "not started" would be the truth, and repeating it might start it twice."""
    task = qlik.task(result="never")
    make_daemon(broker, startTask={"requestDeadlineSeconds": 3}).start()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
        qlik.fault("cut", method="POST", taskId=task, when="after")
        qlik.fault("status", status=500, method="GET", path="/qrs/*", count=None)
        answer = sender.ask({"taskId": task}, seconds=40)
        [entry] = answer["tasksFailed"]
        assert (entry["status"], entry["code"]) == ("unknown", "outcome_unknown")
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


def test_a_wrong_client_certificate_is_an_outage_and_not_not_found(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    daemon = make_daemon(broker, startTask={"requestDeadlineSeconds": 2})
    daemon.configure(cert={"clientCertCA": str(_other_authority(daemon))})
    daemon.start()
    with Sender(broker.port) as sender:
        answer = sender.ask({"taskId": task})
        assert answer["code"] == "qrs_unavailable"
    assert "certificate" in answer["details"] + "\n".join(daemon.lines)


def _other_authority(daemon: Daemon) -> Path:
    file = daemon.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file
