"""The reply to a cancel."""

from __future__ import annotations

from butler_mqtt.contract.cancel_replies import GoesOn, reply
from butler_mqtt.domain.model import Request
from butler_mqtt.domain.open_work import OpenRequest
from butler_mqtt.domain.states import RequestState, StartState
from tests.unit.domain.stages import start

CANCEL = OpenRequest(2, "cancel", Request("{}", "", cancel="old"), RequestState.RECEIVED, 0, 0.0)


def test_a_cancel_that_finds_nothing_to_take_back_is_answered_all_the_same() -> None:
    assert reply(CANCEL, [], [], []) == {
        "requestId": "cancel",
        "status": "ok",
        "cancelled": "old",
        "tasksCancelled": [],
        "tasksStarted": [],
        "tasksNotFound": [],
        "totalTasksStarted": 0,
    }


def test_what_goes_on_because_it_could_not_be_stopped_makes_the_reply_partial() -> None:
    running = start(StartState.RUNNING)
    assert reply(CANCEL, [], [], [GoesOn(running, None)])["status"] == "ok"
    answer = reply(CANCEL, [], [], [GoesOn(running, None, ("qrs_forbidden", "not allowed"))])
    assert answer["status"] == "partial"
    assert answer["tasksRunning"] == [
        {
            "taskId": running.task.id,
            "taskName": "Sales",
            "status": "running",
            "executionId": "execution",
            "code": "qrs_forbidden",
            "details": "not allowed",
        }
    ]


def test_an_execution_that_serves_others_says_so_even_where_they_may_not_be_named() -> None:
    shared, adopted = start(StartState.RUNNING), start(StartState.RUNNING)
    adopted.adopted = True
    alone, hidden = start(StartState.RUNNING), start(StartState.UNKNOWN)
    goes_on = [GoesOn(shared, ["r"]), GoesOn(adopted, None), GoesOn(alone, None), GoesOn(hidden, [])]
    entries = reply(CANCEL, [], [], goes_on)["tasksRunning"]
    assert isinstance(entries, list)
    assert [one.get("sharedWith") for one in entries] == [["r"], [], None, []]
    assert [one["status"] for one in entries] == ["running", "running", "running", "unknown"]
