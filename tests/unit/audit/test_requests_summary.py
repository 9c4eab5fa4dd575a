"""One request in a few words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from butler_mqtt.audit import requests_summary
from butler_mqtt.domain.states import RequestState, StartState
from butler_mqtt.journal.request_rows import MAX_BEGIN, RequestRows

GUID = "a8b4c123-def4-5678-9abc-def012345678"


def start(state: str, name: str = "Sales", **more: Any) -> dict[str, Any]:
    row = {"task_id": GUID, "task_name": name, "state": state, "execution_id": None, "skipped_result": None}
    return {**row, "code": None, **more}


def rows(
    *starts: dict[str, Any], document: object = None, begin: bytes | None = b"", **changes: Any
) -> RequestRows:
    request = {
        "request_id": "r",
        "state": "closed",
        "code": None,
        "document": None if document is None else json.dumps(document),
        "reply": "{}",
        "not_found": None,
        "door": "mqtt",
        "rule": None,
        "identity": None,
        "sender": None,
    }
    delivery = {"principal": None, "begin": begin, "size": changes.pop("size", len(begin or b""))}
    return RequestRows(request | changes, (delivery,), starts)


@pytest.mark.parametrize("state", StartState)
def test_a_start_of_any_state_is_counted_in_words(state: StartState) -> None:
    text, style = requests_summary.state(rows(start(state)))
    assert f"1 {state}" in text
    assert style in {"green", "yellow", "red"}


@pytest.mark.parametrize("state", RequestState)
def test_a_request_of_any_state_has_words(state: RequestState) -> None:
    text, style = requests_summary.state(rows(state=state, code="expired"))
    assert text
    assert style in {"green", "yellow", "red"}


def test_a_request_for_which_nothing_began_has_failed() -> None:
    assert requests_summary.state(rows())[0] == "failed: no task"
    assert requests_summary.state(rows(not_found='[{"tag": "a"}]'))[0] == "failed: 1 not found"
    text, style = requests_summary.state(rows(start("notStarted", code="expired"), start("denied", "Loans")))
    assert (text, style) == ("failed: 1 notStarted (expired: Sales), 1 denied (Loans)", "red")


def test_of_many_tasks_that_went_wrong_some_are_named() -> None:
    text, _ = requests_summary.state(rows(*(start("failed", f"t{number}") for number in range(5))))
    assert text == "5 failed (t0, t1 and 3 more)"
    assert requests_summary.state(rows(start("failed")), names=False)[0] == "1 failed"


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"tag": "daily"}, "tag daily"),
        ({"taskName": ["a", "b", "c"]}, "task a, task b and 1 more"),
        ({"taskId": GUID.upper()}, "task Sales"),
        ({"customProperty": {"name": "App", "value": "x"}}, "App=x"),
        ({"stages": [{"tag": "a"}, {"tag": "b"}]}, "tag a, tag b"),
        ({"tag": "a", "dryRun": True}, "tag a (dry run)"),
        ({"cancel": "old"}, "cancel old"),
        ({"sender": "x"}, "sender"),
    ],
)
def test_what_is_asked_for_is_named(document: object, text: str) -> None:
    assert requests_summary.asked(rows(start("succeeded"), document=document)) == text


@pytest.mark.parametrize(
    ("begin", "size", "text"),
    [
        (None, 0, "nothing"),
        (b"  \n ", 4, "4 blanks"),
        (b"a\n\tb", 4, "a b"),
        (b"\xff\xfe", 2, "\ufffd\ufffd"),
        (b"x" * 40, 40, "x" * 40),
        (b"x" * 41, 41, "x" * 39 + "…"),
        (b"x" * 10, MAX_BEGIN + 1, "x" * 10 + "…"),
    ],
    ids=["empty", "blank", "lines", "bytes", "fits", "long", "cut when read"],
)
def test_what_was_not_understood_is_one_short_line(begin: bytes | None, size: int, text: str) -> None:
    assert requests_summary.asked(rows(begin=begin, size=size)) == text


@pytest.mark.parametrize(
    ("identity", "sender", "text"),
    [
        (None, None, "mqtt"),
        (None, "erp", "mqtt, erp"),
        ("erp", "erp", "mqtt, erp"),
        ("erp", "crm", "mqtt, erp, calls itself crm"),
    ],
)
def test_where_a_request_came_from_and_what_it_says_of_itself_are_told_apart(
    identity: str | None, sender: str | None, text: str
) -> None:
    assert requests_summary.origin(rows(identity=identity, sender=sender)) == text


def test_a_cancel_says_what_it_did() -> None:
    reply = {"cancelled": "old", "tasksCancelled": [1, 2], "tasksRunning": [3]}
    assert requests_summary.state(rows(reply=json.dumps(reply))) == ("2 cancelled, 1 went on", "green")
