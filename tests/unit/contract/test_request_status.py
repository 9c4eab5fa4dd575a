"""The present state of a request, made of rows of the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from butler_mqtt.contract.request_status import request_status
from butler_mqtt.domain.states import RequestState, StartState

DOCUMENT = json.dumps({"taskName": ["Sales"], "tag": ["a", "b"]})


def request(**changes: Any) -> dict[str, Any]:
    row = {
        "request_id": "r",
        "state": "closed",
        "document": DOCUMENT,
        "reply": "{}",
        "not_found": None,
        "door": "mqtt",
        "identity": None,
        "sender": "erp",
        "rule": None,
        "received_at": 0,
        "expires_at": None,
        "decided_at": 1,
        "closed_at": 2,
    }
    return row | changes


def start(state: str, **changes: Any) -> dict[str, Any]:
    row = {
        "id": 1,
        "task_id": "task",
        "task_name": "Sales",
        "state": state,
        "execution_id": None,
        "kinds": "taskName:0",
        "reason": None,
        "adopted": False,
        "stage": None,
        "started_at": None,
        "stopped_at": None,
    }
    return row | changes


def shown(*starts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return request_status(request(**changes), [], starts)


@pytest.mark.parametrize("state", StartState)
def test_a_start_of_any_state_is_shown_once(state: StartState) -> None:
    answer = shown(start(state))
    entries = [one for name, value in answer.items() if name.startswith("tasks") for one in value]
    assert [one["state"] for one in entries] == [state]


@pytest.mark.parametrize("state", RequestState)
def test_a_request_of_any_state_has_a_status(state: RequestState) -> None:
    reply = json.dumps({"error": "No", "code": "expired", "details": "late", "status": "failed"})
    answer = shown(state=state, reply=reply)
    assert answer["status"] == ("pending" if state in {"received", "decided"} else "failed")
    assert ("code" in answer) is (state == "refused")


@pytest.mark.parametrize(
    ("starts", "finished", "outcome"),
    [
        ([start("succeeded")], True, "succeeded"),
        ([start("succeeded"), start("failed")], True, "partial"),
        ([start("running", execution_id="e")], False, None),
        ([start("running")], True, "succeeded"),
        ([start("waiting")], False, None),
        ([start("wouldStart")], True, "succeeded"),
        ([], True, "failed"),
    ],
    ids=["well", "partly", "runs", "cannot be tracked", "waits", "dry run", "nothing"],
)
def test_an_outcome_is_there_once_nothing_goes_on(
    starts: list[dict[str, Any]], finished: bool, outcome: str | None
) -> None:
    answer = shown(*starts)
    assert answer["finished"] is finished
    assert answer.get("outcome") == outcome


def test_a_stage_that_is_still_to_come_keeps_a_request_from_being_finished() -> None:
    stage = {"number": 2, "name": None, "state": "waiting", "began_at": None, "ended_at": None}
    answer = request_status(request(), [], [start("succeeded", stage=1)], [stage])
    assert answer["finished"] is False
    assert answer["stages"] == [{"stage": 2, "status": "waiting", "tasks": 0}]


def test_why_a_start_waits_is_shown_while_it_does() -> None:
    (waits,) = shown(start("waiting", reason="running", behind="e"))["tasksQueued"]
    assert (waits["reason"], waits["behind"]) == ("running", "e")
    (began,) = shown(start("succeeded", reason="running", behind="e"))["tasksStarted"]
    assert "reason" not in began
    assert "behind" not in began


def test_a_start_that_waits_for_capacity_has_its_place() -> None:
    row = start("waiting", reason="capacity")
    assert request_status(request(), [], [row], places={1: 7})["tasksQueued"][0]["place"] == 7  # type: ignore[index] # JSON
    assert "place" not in request_status(request(), [], [row])["tasksQueued"][0]  # type: ignore[index] # JSON


@pytest.mark.parametrize(
    ("kinds", "selectors"),
    [
        ("taskName:0", [{"taskName": "Sales"}]),
        ("tag:2,taskName:0", [{"tag": "b"}, {"taskName": "Sales"}]),
        ("tag", [{"tag": "a"}, {"tag": "b"}]),
        ("", []),
    ],
)
def test_the_selectors_that_matched_are_named(kinds: str, selectors: list[object]) -> None:
    (entry,) = shown(start("succeeded", kinds=kinds))["tasksStarted"]
    assert entry["selectors"] == selectors


def test_a_request_that_was_never_understood_is_shown_all_the_same() -> None:
    reply = json.dumps({"error": "Invalid", "code": "invalid_json", "details": "x", "status": "failed"})
    answer = shown(state="refused", document=None, reply=reply)
    assert (answer["status"], answer["code"]) == ("failed", "invalid_json")


def test_what_is_held_says_so_and_nothing_else_does() -> None:
    assert request_status(request(), [], [], held=True)["held"] is True
    assert "held" not in shown()
