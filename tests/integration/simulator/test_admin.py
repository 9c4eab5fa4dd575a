from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.integration.simulator.running import EMPTY, KEY, LONG, QUICK, Client, eventually


def test_the_admin_endpoints_are_on_the_main_listener_too(qrs: Client) -> None:
    assert qrs.raw("GET", "/admin/switches", headers={}).json()["pairing"] == "any"


def test_calls_tell_what_was_called(qrs: Client) -> None:
    execution_id = qrs.start(LONG)
    qrs.get("tag")
    start, tag = qrs.admin("GET", "/calls")["calls"]
    assert start == {
        "index": 0,
        "time": start["time"],
        "method": "POST",
        "path": f"/qrs/task/{LONG}/start/synchronous",
        "query": f"xrfkey={KEY}&",
        "user": "INTERNAL\\sa_repository",
        "status": 201,
        "taskId": LONG,
        "taskIds": [LONG],
        "executionIds": [execution_id],
        "fault": None,
    }
    assert (tag["index"], tag["path"]) == (1, "/qrs/tag")


def test_calls_are_chosen_and_paged(qrs: Client) -> None:
    for path in ("about", "tag", "about", "nothing"):
        qrs.call("GET", path)
    qrs.start(LONG)

    def indexes(query: str) -> list[int]:
        return [call["index"] for call in qrs.admin("GET", f"/calls?{query}")["calls"]]

    assert indexes("path=about") == [0, 2]
    assert indexes("status=404") == [3]
    assert indexes("method=post") == [4]
    assert indexes(f"taskId={LONG}") == [4]
    assert indexes("since=3") == [3, 4]
    first = qrs.admin("GET", "/calls?limit=2")
    assert (len(first["calls"]), first["next"]) == (2, 2)
    assert qrs.admin("GET", "/calls?since=5") == {"calls": [], "next": 5}


def test_starts_are_counted_per_task(qrs: Client) -> None:
    qrs.start(LONG)
    qrs.start(LONG)
    qrs.admin("POST", f"/tasks/{QUICK}/start")
    counts = qrs.admin("GET", "/starts")
    assert counts["tasks"][LONG] == {"requests": 2, "executions": 1, "empty": 1, "foreign": 0}
    assert counts["tasks"][QUICK] == {"requests": 0, "executions": 1, "empty": 0, "foreign": 1}
    assert (counts["requests"], counts["executions"]) == (2, 2)


def test_somebody_else_can_start_and_stop_a_task(qrs: Client) -> None:
    execution_id = qrs.admin("POST", f"/tasks/{LONG}/start", {"user": "LAB\\anna"})["executionId"]
    assert qrs.get(f"executionsession/{execution_id}")["user"] == "LAB\\anna"
    assert qrs.start(LONG) == EMPTY
    assert qrs.admin("POST", f"/tasks/{LONG}/stop") == {"stopped": 1}
    eventually(lambda: qrs.session_gone(execution_id))


def test_tasks_are_added_changed_and_deleted(qrs: Client) -> None:
    added = qrs.admin("POST", "/tasks", {"name": "New", "tags": ["fresh"], "customProperties": {"Site": "x"}})
    assert [task["id"] for task in qrs.get("task/full", filter="tags.name eq 'fresh'")] == [added["id"]]
    assert qrs.get("tag/count", filter="name eq 'fresh'") == {"value": 1}
    assert qrs.get("reloadtask/count", filter="@Site eq 'x'") == {"value": 1}
    qrs.admin("PUT", f"/tasks/{added['id']}", {"name": "New", "enabled": False})
    assert qrs.start(added["id"]) == EMPTY
    qrs.admin("DELETE", f"/tasks/{added['id']}")
    assert qrs.call("GET", f"reloadtask/{added['id']}").status_code == 404
    assert len(qrs.admin("POST", "/tasks", [{"name": "A"}, {"name": "B"}])) == 2
    assert len(qrs.admin("GET", "/tasks")) == 10


def test_executions_are_shown_with_their_sessions(qrs: Client) -> None:
    long, quick = qrs.start(LONG), qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(quick))
    assert [one["executionID"] for one in qrs.admin("GET", "/executions")] == [long, quick]
    active = qrs.admin("GET", "/executions?active=true")
    assert [one["session"]["id"] for one in active] == [long]
    assert [one["executionID"] for one in qrs.admin("GET", f"/executions?taskId={QUICK}")] == [quick]


def test_reset_goes_back_to_the_beginning(qrs: Client) -> None:
    qrs.start(LONG)
    qrs.switch(listLimit=1)
    qrs.plant(kind="empty", count=None)
    qrs.admin("POST", "/tasks", {"name": "New"})
    qrs.admin("POST", "/reset")
    assert qrs.admin("GET", "")["calls"] == 0
    assert len(qrs.get("task")) == 8
    assert qrs.get("executionsession") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/switches", {"colour": "red"}, 400),
        ("PUT", "/switches", [], 400),
        ("POST", "/faults", {"kind": "other"}, 400),
        ("DELETE", "/faults/99", None, 404),
        ("POST", "/tasks", {"id": "abc", "name": "x"}, 400),
        ("POST", "/tasks/unknown/start", None, 404),
        ("GET", "/calls?since=x", None, 400),
        ("GET", "/nothing", None, 404),
        ("POST", "/switches", None, 405),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(
    qrs: Client, method: str, path: str, body: Any, status: int
) -> None:
    response = requests.request(method, f"{qrs.simulator.admin_url}/admin{path}", json=body, timeout=10)
    assert response.status_code == status
    assert response.json()["error"]


@pytest.fixture
def callbacks() -> Iterator[tuple[str, queue.Queue[Any]]]:
    received: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/qrs", received
        server.shutdown()
        thread.join(10)


def test_a_subscriber_is_told_of_the_end_of_an_execution(
    qrs: Client, callbacks: tuple[str, queue.Queue[Any]]
) -> None:
    url, received = callbacks
    answer = qrs.call(
        "POST",
        "notification",
        json=url,
        name="ExecutionResult",
        changetype="Update",
        filter="Status eq FinishedSuccess",
        propertyname="stopTime",
    )
    assert answer.status_code == 201
    execution_id = qrs.start(QUICK)
    changes = received.get(timeout=10)
    assert (changes[0]["changeType"], changes[0]["objectType"]) == (2, "ExecutionResult")
    assert qrs.get(f"executionresult/{changes[0]['objectID']}")["executionID"] == execution_id
    handle = answer.json()["value"]
    assert qrs.call("DELETE", "notification", handle=handle).status_code == 204
    assert qrs.call("DELETE", "notification", handle=handle).status_code == 404


def test_callbacks_can_be_duplicated_and_subscriptions_lost(
    qrs: Client, callbacks: tuple[str, queue.Queue[Any]]
) -> None:
    url, received = callbacks
    qrs.switch(duplicateCallbacks=True)
    assert (
        qrs.call("POST", "notification", json=url, name="executionsession", changetype="1").status_code == 201
    )
    qrs.start(LONG)
    assert received.get(timeout=10) == received.get(timeout=10)
    assert qrs.admin("POST", "/restart") == {"subscriptionsLost": 1}


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ("http://127.0.0.1/x", {}),
        ("no url", {"name": "Tag"}),
        ({"url": "http://127.0.0.1/x"}, {"name": "Tag"}),
        ("http://127.0.0.1/x", {"name": "Nothing"}),
        ("http://127.0.0.1/x", {"name": "Tag", "changetype": "9"}),
        ("http://127.0.0.1/x", {"name": "Tag", "changetype": "some"}),
        ("http://127.0.0.1/x", {"name": "Tag", "filter": "name"}),
        ("http://127.0.0.1/x", {"name": "ReloadTask", "filter": "tags.name eq 'a'"}),
    ],
)
def test_a_subscription_that_makes_no_sense_is_400(
    qrs: Client, body: Any, parameters: dict[str, Any]
) -> None:
    assert qrs.call("POST", "notification", json=body, **parameters).status_code == 400


def test_changes_are_told_since_a_time(qrs: Client) -> None:
    before = qrs.admin("GET", "")["time"]
    added = qrs.admin("POST", "/tasks", {"name": "New"})
    qrs.start(LONG)
    changes = qrs.get("notification/changes", since=before, types="ReloadTask,Tag")
    assert [(one["changetype"], one["id"]) for one in changes] == [(1, added["id"])]
    assert changes[0]["object"]["name"] == "New"
    types = {one["type"] for one in qrs.get("notification/changes", since=before)}
    assert types == {"ReloadTask", "ExecutionSession", "ExecutionResult"}
    assert qrs.get("notification/changes", since="2999-01-01T00:00:00.000Z") == []
    assert qrs.call("GET", "notification/changes").status_code == 400
    assert qrs.call("GET", "notification/changes", since="now").status_code == 400
