"""The reply to a request, from the states of its starts."""

from __future__ import annotations

import pytest

from butler_mqtt.contract import replies
from butler_mqtt.contract.request_status import request_status
from butler_mqtt.domain.model import Request, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import RequestState, StartState


def opened(*states: StartState, code: str | None = None) -> OpenRequest:
    made = OpenRequest(1, "r", Request("{}", ""), RequestState.DECIDED, 0, 0.0)
    made.starts = [
        OpenStart(number, made, 1, "r", Task(f"id {number}", f"task {number}"), state, code=code)
        for number, state in enumerate(states)
    ]
    return made


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((StartState.RUNNING,), "ok"),
        ((StartState.WAITING, StartState.SKIPPED), "ok"),
        ((StartState.RUNNING, StartState.DENIED), "partial"),
        ((StartState.WOULD_START, StartState.UNKNOWN), "partial"),
        ((StartState.NOT_STARTED,), "failed"),
        ((), "failed"),
    ],
)
def test_the_status_of_a_reply_follows_from_its_lists(states: tuple[StartState, ...], status: str) -> None:
    assert replies.reply(opened(*states))["status"] == status


def test_a_task_that_is_gone_is_listed_as_not_found() -> None:
    answer = replies.reply(opened(StartState.NOT_STARTED, code="task_not_found"))
    assert answer["tasksNotFound"] == [{"taskId": "id 0"}]
    assert "tasksFailed" not in answer


@pytest.mark.parametrize("state", [state for state in StartState if state is not StartState.PLANNED])
def test_the_status_of_a_request_lists_each_start_as_its_reply_does(state: StartState) -> None:
    reply = replies.reply(opened(state))
    request = {"request_id": "r", "state": "closed", "not_found": None, "reply": None, "document": None}
    times = dict.fromkeys(("received_at", "expires_at", "decided_at", "closed_at"))
    start = {
        "task_id": "id 0",
        "task_name": "task 0",
        "state": state,
        "execution_id": None,
        "started_at": None,
        "stopped_at": None,
        "adopted": False,
        "kinds": "",
    }
    shown = request_status({**request, **times, "door": "mqtt", "sender": None}, (), (start,))
    for name in {*reply, *(name for name in shown if name.startswith("tasks"))} - {"status"}:
        entries = [shown[name], reply[name]]
        if name.startswith("tasks") and name != "tasksNotFound":
            entries = [[entry["status"] for entry in found] for found in entries]  # type: ignore[attr-defined]
        assert entries[0] == entries[1], name
    assert shown["status"] == reply["status"]
