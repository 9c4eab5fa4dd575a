"""What `start --wait` keeps of each task as events and replies come."""

from __future__ import annotations

from typing import Any

from butler_mqtt.cli.start_progress import Outcomes

TASK = {"taskId": "t", "taskName": "Sales"}


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"event": kind, "requestIds": ["r"], **TASK, **more}


def test_what_a_task_waited_for_is_no_reason_of_its_end() -> None:
    outcomes = Outcomes("r")
    outcomes.event(event("queued", reason="stage", behind=None))
    outcomes.event(event("started", executionId="e"))
    outcomes.event(event("failed", message="script error"))
    facts = outcomes.tasks["t"].facts
    assert ("reason" in facts, facts["message"]) == (False, "script error")


def test_the_reason_of_an_end_outlasts_the_reply_that_follows_it() -> None:
    outcomes = Outcomes("r")
    outcomes.event(event("aborted", reason="aborted by hand"))
    outcomes.reply({"tasksStarted": [{**TASK, "status": "started", "result": "aborted"}]})
    assert outcomes.tasks["t"].facts["reason"] == "aborted by hand"
