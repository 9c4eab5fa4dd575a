"""`POST /v4/requests/{id}/cancel` of a running daemon."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.acceptance import reply_shape
from tests.integration.http.daemon_with_listeners import ListeningDaemon


def waiting(listening: ListeningDaemon) -> tuple[str, str]:
    """Ask for a task that has to wait for an hour; return the request's id and the task's."""
    task, name = listening.qlik.task(), uuid.uuid4().hex
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert listening.post({"requestId": name, "taskId": task, "notBefore": later}).status_code == 200
    return name, task


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", [None, b"{}", b'{"stopRunning": false}'], ids=["absent", "empty", "false"])
def test_a_request_is_taken_back(listening: ListeningDaemon, method: str, body: bytes | None) -> None:
    name, task = waiting(listening)
    answer = listening.call(method, f"/v4/requests/{name}/cancel", data=body)
    assert answer.status_code == 200, answer.text
    reply_shape.check(answer.json())
    assert [entry["taskId"] for entry in answer.json()["tasksCancelled"]] == [task]
    state = listening.state(name)
    assert (state["finished"], state["tasksFailed"][0]["status"]) == (True, "cancelled")


def test_a_cancel_has_a_state_of_its_own(listening: ListeningDaemon) -> None:
    name, task = waiting(listening)
    mine = uuid.uuid4().hex
    listening.call("POST", f"/v4/requests/{name}/cancel", headers={"Idempotency-Key": mine})
    state = listening.state(mine)
    assert (state["state"], state["status"], state["finished"]) == ("closed", "ok", True)
    assert (state["cancelled"], state["tasksCancelled"][0]["taskId"]) == (name, task)
    assert "outcome" not in state


def test_a_cancel_with_a_key_has_its_effect_once(listening: ListeningDaemon) -> None:
    name, _ = waiting(listening)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = (
        listening.call("POST", f"/v4/requests/{name}/cancel", headers=headers).text for _ in range(2)
    )
    assert first == again


def test_a_cancel_may_come_as_a_request_too(listening: ListeningDaemon) -> None:
    name, task = waiting(listening)
    answer = listening.post({"cancel": name})
    assert [entry["taskId"] for entry in answer.json()["tasksCancelled"]] == [task]


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("nobody", None, 404, "unknown_request"),
        ("no%20id", None, 404, "unknown_request"),
        ("{known}", b'{"stopRunning": true}', 403, "forbidden"),
        ("{known}", b'{"stopRunning": 1}', 400, "invalid_request"),
        ("{known}", b'{"cancel": "another"}', 400, "invalid_request"),
        ("{known}", b'{"tag": "daily"}', 400, "invalid_request"),
        ("{known}", b"[]", 400, "invalid_request"),
        ("{known}", b"{", 400, "invalid_json"),
    ],
)
def test_what_is_wrong_with_a_cancel_is_named_and_cancels_nothing(
    listening: ListeningDaemon, name: str, body: Any, status: int, code: str
) -> None:
    known, _ = waiting(listening)
    answer = listening.call("POST", f"/v4/requests/{name.format(known=known)}/cancel", data=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert listening.state(known)["tasksQueued"]
    assert listening.call("POST", f"/v4/requests/{known}/cancel").status_code == 200


def test_a_cancel_is_not_read_with_get(listening: ListeningDaemon) -> None:
    assert listening.call("GET", "/v4/requests/one/cancel").status_code == 405
