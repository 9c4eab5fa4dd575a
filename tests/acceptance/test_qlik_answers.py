"""What the server answers to a start, and what the sender is told: each switch of the simulator both ways."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.reply_shape import EMPTY_GUID
from tests.acceptance.rig import Qlik
from tests.acceptance.sender import Sender
from tests.brokers import until


def failed(answer: dict[str, Any]) -> dict[str, Any]:
    """Give the one entry of `tasksFailed` of a reply that says `failed`."""
    assert answer["status"] == "failed", answer
    [entry] = answer["tasksFailed"]
    assert isinstance(entry, dict)
    return entry


@pytest.mark.parametrize("body", ["object", "string"])
def test_the_execution_id_is_read_from_both_forms_of_the_answer(
    body: str, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(synchronousBody=body)
    task = qlik.task()
    [entry] = sender.ask({"taskId": task})["tasksStarted"]
    assert [entry["executionId"]] == qlik.execution_ids(task)


@pytest.mark.parametrize("answer", ["empty", "same"])
def test_a_task_that_runs_already_is_skipped_when_asked_so_and_its_execution_named(
    answer: str, each: Place, qlik: Qlik
) -> None:
    qlik.switch(alreadyRunning=answer)
    task = qlik.task("Busy", result="never")
    execution = qlik.begin(task)
    # The execution that runs must be older than the request by the server's own clock.
    each.sender.drain()
    reply = each.sender.ask({"taskId": task, "ifRunning": "skip", "requestId": f"skip-{task}"}, seconds=30)
    assert reply["status"] == "ok"
    assert reply["tasksSkipped"] == [
        {"taskId": task, "taskName": "Busy", "status": "alreadyRunning", "executionId": execution}
    ]
    assert qlik.executions(task) == 1
    qlik.end(task)


def test_a_second_execution_beside_a_running_one_is_reported_as_started(sender: Sender, qlik: Qlik) -> None:
    qlik.switch(alreadyRunning="second")
    task = qlik.task(result="never")
    first = qlik.begin(task)
    [entry] = sender.ask({"taskId": task, "ifRunning": "skip"}, seconds=30)["tasksStarted"]
    assert entry["executionId"] in qlik.execution_ids(task)
    assert entry["executionId"] != first
    qlik.end(task)


@pytest.mark.parametrize("status", ["404", "400"])
def test_a_task_that_vanishes_between_finding_and_starting_is_not_found(
    status: str, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(unknownTask=status)
    task, other = qlik.task(), qlik.task()
    # The answer of the dry run is used again for the request itself.
    assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
    qlik.admin("DELETE", f"/tasks/{task}")
    answer = sender.ask({"taskId": task})
    assert answer["status"] == "failed", answer
    assert answer["tasksNotFound"] == [{"taskId": task}]
    assert sender.ask({"taskId": other})["status"] == "ok"


def test_the_empty_id_of_a_disabled_task_is_explained(each: Place, qlik: Qlik) -> None:
    task = qlik.task("Off", enabled=False)
    entry = failed(each.sender.ask({"taskId": task}))
    assert (entry["status"], entry["code"], entry["taskName"]) == ("notStarted", "task_disabled", "Off")


def test_the_empty_id_of_a_task_without_its_app_is_explained(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(app={"name": "Lost", "availability": "NotSynced"})
    entry = failed(sender.ask({"taskId": task}))
    assert (entry["status"], entry["code"]) == ("notStarted", "app_missing")


def test_the_empty_id_without_a_reason_is_not_guessed_at(sender: Sender, qlik: Qlik) -> None:
    qlik.switch(scheduler="absent")
    entry = failed(sender.ask({"taskId": qlik.task()}))
    assert (entry["status"], entry["code"]) == ("notStarted", "not_started")
    assert EMPTY_GUID not in str(entry)


@pytest.mark.parametrize("kind", ["externalProgram", "userSync"])
def test_other_kinds_of_tasks_with_sessions_are_started_with_an_execution_id(
    kind: str, each: Place, qlik: Qlik
) -> None:
    task = qlik.task(type=kind)
    [entry] = each.sender.ask({"taskId": task})["tasksStarted"]
    assert [entry["executionId"]] == qlik.execution_ids(task)


@pytest.mark.parametrize("kind", ["distribute", "preload"])
def test_kinds_of_tasks_without_sessions_are_started_without_an_execution_id(
    kind: str, each: Place, qlik: Qlik
) -> None:
    task = qlik.task(type=kind)
    [entry] = each.sender.ask({"taskId": task})["tasksStarted"]
    assert entry["status"] == "started"
    assert entry.get("executionId") is None
    assert qlik.executions(task) == 1


def test_a_disabled_task_without_sessions_is_not_said_to_be_started(sender: Sender, qlik: Qlik) -> None:
    """The server answers 204 for it as for any other."""
    task = qlik.task(type="preload", enabled=False)
    assert failed(sender.ask({"taskId": task}))["code"] == "task_disabled"


def test_the_base_model_of_tasks_is_enough_to_start_them(sender: Sender, qlik: Qlik) -> None:
    qlik.switch(taskModel="base")
    task = qlik.task(tags=[f"base-{id(qlik)}"])
    [entry] = sender.ask({"tag": f"base-{id(qlik)}"})["tasksStarted"]
    assert (entry["taskId"], qlik.executions(task)) == (task, 1)


def test_one_failure_among_several_tasks_is_told_per_task(each: Place, qlik: Qlik) -> None:
    good, off = qlik.task("Good"), qlik.task("Off", enabled=False)
    answer = each.sender.ask({"taskId": [good, off]})
    assert answer["status"] == "partial"
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [good]
    assert [entry["taskId"] for entry in answer["tasksFailed"]] == [off]


@pytest.mark.parametrize("rights", ["read", "none"])
def test_missing_rights_are_named_as_such_or_shown_as_not_found(
    rights: str, sender: Sender, qlik: Qlik
) -> None:
    """A server that hides a task from us cannot be told apart from one that does not have it."""
    task = qlik.task()
    qlik.switch(rights=rights)
    answer = sender.ask({"taskId": task})
    codes = {answer.get("code"), *(entry["code"] for entry in answer.get("tasksFailed", ()))}
    assert "qrs_forbidden" in codes or answer.get("tasksNotFound") == [{"taskId": task}], answer
    if rights == "read":
        assert "qrs_forbidden" in codes, answer
    assert qlik.executions(task) == 0


def test_a_task_that_was_started_by_somebody_else_meanwhile_satisfies_the_request(
    sender: Sender, qlik: Qlik
) -> None:
    """It began after the request was received: adopted, and not started a second time."""
    task = qlik.task(result="never")
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=3)
    topic = sender.send({"taskId": task, "ifRunning": "skip"})
    until(lambda: qlik.struck(fault), what="the start is on its way")
    execution = qlik.begin(task)
    [entry] = sender.answer(topic, seconds=30)["tasksStarted"]
    assert (entry["executionId"], entry["adopted"]) == (execution, True)
    assert qlik.executions(task) == 1
    qlik.end(task)
