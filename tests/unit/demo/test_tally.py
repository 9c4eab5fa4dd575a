"""The tally of the tour finds every kind of contradiction."""

from __future__ import annotations

from typing import Any

from butler_mqtt.demo.tally import Tally, gist

TASK = "a8b4c123-def4-5678-9abc-def012345678"


def reply(request_id: str, *execution_ids: str) -> dict[str, Any]:
    tasks = [{"taskId": TASK, "taskName": "Sales", "executionId": one} for one in execution_ids]
    return {"requestId": request_id, "status": "ok", "tasksStarted": tasks, "tasksNotFound": []}


def tally(*replies: dict[str, Any]) -> Tally:
    made = Tally(sent=len(replies))
    for one in replies:
        made.add(one)
    return made


def test_equal_counts_have_no_mistake() -> None:
    counted = tally(reply("r1", "x1"), reply("r2", "x2"), reply("r2", "x2"))
    counted.compare(3, {"x1": TASK, "x2": TASK})
    assert counted.mistakes == []


def test_a_reply_too_many_is_a_mistake() -> None:
    counted = tally(reply("r1", "x1"))
    counted.compare(2, {"x1": TASK})
    assert counted.mistakes == ["1 messages sent, 2 replies received, 1 expected"]


def test_an_execution_in_no_reply_is_a_mistake() -> None:
    counted = tally(reply("r1", "x1"))
    counted.compare(1, {"x1": TASK, "x2": TASK})
    assert counted.mistakes == [f"the server ran {TASK} as x2, which is in no reply"]


def test_a_reply_with_an_execution_that_the_server_did_not_run_is_a_mistake() -> None:
    counted = tally(reply("r1", "x1"))
    counted.compare(1, {})
    assert counted.mistakes == [f"the reply to r1 has {TASK} as x1; the server ran no such execution"]


def test_two_executions_of_one_task_for_one_request_are_a_mistake() -> None:
    counted = tally(reply("r1", "x1", "x2"))
    counted.compare(1, {"x1": TASK, "x2": TASK})
    assert counted.mistakes == [f"r1 started {TASK} 2 times"]


def test_one_execution_for_two_requests_is_a_mistake() -> None:
    counted = tally(reply("r1", "x1"), reply("r2", "x1"))
    counted.compare(2, {"x1": TASK})
    assert len(counted.mistakes) == 1
    assert "x1 is in the replies to two requests" in counted.mistakes[0]


def test_the_gist_of_a_reply_names_tasks_and_codes() -> None:
    answer = reply("r1", "x1") | {
        "status": "partial",
        "tasksDenied": [{"taskName": "Secret"}],
        "tasksFailed": [{"taskName": "Old", "code": "task_disabled"}],
        "tasksNotFound": [{"tag": "nix"}],
    }
    assert gist(answer) == {
        "status": "partial",
        "started": ["Sales"],
        "denied": ["Secret"],
        "failed": ["Old: task_disabled"],
        "notFound": ["nix"],
    }
    assert gist({"error": "Invalid request", "code": "invalid_request"}) == {"code": "invalid_request"}
