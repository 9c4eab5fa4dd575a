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


#: What is no success, nor stands for one; one that runs here has an execution that goes on.
NOT_SUCCEEDED = (
    *(StartState.FAILED, StartState.ABORTED, StartState.SKIPPED_BY_QLIK, StartState.UNKNOWN),
    *(StartState.DENIED, StartState.NOT_STARTED, StartState.EXPIRED, StartState.CANCELLED),
    *(StartState.RUNNING, StartState.WAITING),
)


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


S = StartState


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ((S.SUCCEEDED,), "succeeded"),
        ((S.SUCCEEDED, S.SKIPPED), "succeeded"),
        ((S.SKIPPED,), "succeeded"),
        ((S.WOULD_START,), "succeeded"),
        *(((S.SUCCEEDED, bad), "partial") for bad in NOT_SUCCEEDED),
        *(((S.SKIPPED, bad), "partial") for bad in NOT_SUCCEEDED),
        *(((bad,), "failed") for bad in NOT_SUCCEEDED),
        ((S.FAILED, S.ABORTED, S.DENIED), "failed"),
        ((), "failed"),
    ],
)
def test_the_outcome_is_what_became_of_the_executions(states: tuple[StartState, ...], outcome: str) -> None:
    request = opened(*states)
    for start in request.starts:
        start.execution_id = "an execution"
    assert replies.reply(request, at_the_end=True)["outcome"] == outcome


def test_a_selector_that_found_nothing_did_not_succeed() -> None:
    request = opened(S.SUCCEEDED)
    request.not_found = [{"tag": "urgent"}]
    assert replies.reply(request, at_the_end=True)["outcome"] == "partial"
    request.starts = []
    assert replies.reply(request, at_the_end=True)["outcome"] == "failed"


def test_a_task_that_is_gone_did_not_succeed() -> None:
    assert replies.reply(opened(S.NOT_STARTED, code="task_not_found"), at_the_end=True)["outcome"] == "failed"


def test_a_task_that_cannot_be_tracked_succeeded_once_the_server_took_it() -> None:
    assert replies.reply(opened(S.RUNNING), at_the_end=True)["outcome"] == "succeeded"


def test_a_reply_that_does_not_wait_has_no_outcome() -> None:
    assert "outcome" not in replies.reply(opened(S.SUCCEEDED))


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
        "id": 1,
        "task_id": "id 0",
        "task_name": "task 0",
        "state": state,
        "reason": None,
        "execution_id": None,
        "started_at": None,
        "stopped_at": None,
        "adopted": False,
        "kinds": "",
    }
    shown = request_status(
        {**request, **times, "door": "mqtt", "sender": None, "identity": None}, (), (start,)
    )
    for name in {*reply, *(name for name in shown if name.startswith("tasks"))} - {"status"}:
        entries = [shown[name], reply[name]]
        if name.startswith("tasks") and name != "tasksNotFound":
            entries = [[entry["status"] for entry in found] for found in entries]  # type: ignore[attr-defined]
        assert entries[0] == entries[1], name
    assert shown["status"] == reply["status"]
    at_the_end = replies.reply(opened(state), at_the_end=True)
    assert shown.get("outcome") == (at_the_end["outcome"] if shown["finished"] else None)


def test_a_request_that_was_refused_has_no_outcome() -> None:
    columns = ("received_at", "expires_at", "decided_at", "closed_at", "not_found", "reply", "document")
    request = {**dict.fromkeys(columns), "request_id": "r", "door": "mqtt", "sender": None, "identity": None}
    shown = request_status({**request, "state": "refused"}, (), ())
    assert shown["finished"] is True
    assert "outcome" not in shown
