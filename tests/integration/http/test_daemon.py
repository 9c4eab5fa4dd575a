"""The running daemon, asked over REST: the description's calls and Butler's."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import requests

from tests.acceptance import reply_shape
from tests.acceptance.sender import Sender
from tests.brokers import until
from tests.integration.http.daemon_with_listeners import DISABLED, FINANCE, NOBODY, SALES, ListeningDaemon
from tests.unit.http.described import DOCUMENT, bodies


def new_id() -> str:
    return uuid.uuid4().hex


def started(answer: requests.Response) -> list[str]:
    return [task["taskId"] for task in answer.json()["tasksStarted"]]


def items(*wanted: tuple[str, dict[str, object]]) -> list[dict[str, object]]:
    return [{"type": kind, "payload": payload} for kind, payload in wanted]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v4/reloadtask/{one}/start", {}),
        ("/v4/reloadtask/{one}/start", None),
        ("/v4/reloadtask/-/start", {"taskId": ["{one}", "{two}"]}),
        ("/v4/reloadtask/{one}/start", {"taskId": "{two}"}),
        ("/v4/reloadtask/-/start", {"tag": ["{tag}", "unused"]}),
        ("/v4/reloadtask/start", {"tag": ["{tag}"], "taskId": ["{one}"]}),
        ("/v4/reloadtask/start", {"taskName": "{name}"}),
    ],
)
def test_the_calls_of_the_description_start_their_tasks(
    listening: ListeningDaemon, method: str, path: str, body: Any
) -> None:
    qlik = listening.qlik
    tag, name = f"tag-{new_id()}", f"name {new_id()}"
    one = qlik.task(name, tags=[tag])
    two = qlik.task(tags=[tag])
    text = json.dumps(body)
    for key, value in {"one": one, "two": two, "tag": tag, "name": name}.items():
        text, path = text.replace(f"{{{key}}}", value), path.replace(f"{{{key}}}", value)
    wanted = {"data": None} if body is None else {"json": json.loads(text)}
    answer = listening.call(method, path, **wanted)
    assert answer.status_code == 200, answer.text
    reply_shape.check(answer.json())
    expected = {task for task in (one, two) if task in text + path or tag in text}
    expected |= {one} if name in text else set()
    assert set(started(answer)) == expected
    assert all(qlik.executions(task) == 1 for task in expected)
    assert answer.json()["totalTasksStarted"] == len(expected)


@pytest.mark.parametrize("path", ["/v4/reloadtask/start", "/v4/reloadtask/-/start"])
@pytest.mark.parametrize("name", sorted(bodies("Start")))
def test_every_example_of_a_body_is_answered_as_its_kind_is(
    listening: ListeningDaemon, path: str, name: str
) -> None:
    body = bodies("Start")[name]
    answer = listening.post(body, path)
    assert answer.status_code == 200, answer.text
    if isinstance(body, list):
        assert set(answer.json()) == set(DOCUMENT["components"]["schemas"]["ButlerReply"]["required"])
    else:
        reply_shape.check(answer.json())
        assert answer.json()["status"] == "ok"


@pytest.mark.parametrize("name", sorted(bodies("StartOfPath")))
def test_every_example_beside_a_path_is_answered(listening: ListeningDaemon, name: str) -> None:
    answer = listening.post(bodies("StartOfPath")[name], f"/v4/reloadtask/{FINANCE}/start")
    assert answer.status_code == 200, answer.text


def test_butlers_own_example_gets_butlers_answer(listening: ListeningDaemon) -> None:
    qlik = listening.qlik
    tag, value = new_id(), f"value-{new_id()}"
    one = qlik.task("Both", tags=[tag], customProperties={"taskGroup": value})
    two = qlik.task("Tagged", tags=[tag])
    unknown = str(uuid.uuid4())
    body = items(
        ("starttaskid", {"taskId": one.upper()}),
        ("starttaskid", {"taskId": "abc"}),
        ("starttaskid", {"taskId": unknown}),
        ("starttasktag", {"tag": tag}),
        ("starttaskcustomproperty", {"customPropertyName": "taskGroup", "customPropertyValue": value}),
        ("keyvaluestore", {"namespace": "N", "key": "K", "value": "V", "ttl": 10000}),
    )
    answer = listening.call("PUT", "/v4/reloadtask/-/start", json=body)
    both = {"taskId": one, "taskName": "Both"}
    assert answer.status_code == 200
    found = answer.json()
    assert sorted(found.pop("tasksTag"), key=str) == sorted(
        [both, {"taskId": two, "taskName": "Tagged"}], key=str
    )
    assert found == {
        "tasksId": {"started": [both], "invalid": [{"taskId": "abc"}, {"taskId": unknown}], "denied": []},
        "tasksTagDenied": [],
        "tasksCP": [both],
        "tasksCPDenied": [],
    }
    assert (qlik.executions(one), qlik.executions(two)) == (1, 1)
    assert listening.daemon.wait_logged("1 keyvaluestore item of a request was ignored") >= 1


def test_all_task_ids_must_exist_holds_the_ids_back_and_not_the_tags(listening: ListeningDaemon) -> None:
    qlik = listening.qlik
    tag = new_id()
    one, two = qlik.task(), qlik.task("Tagged", tags=[tag])
    body = items(
        ("starttaskid", {"taskId": one}), ("starttaskid", {"taskId": NOBODY}), ("starttasktag", {"tag": tag})
    )
    answer = listening.post(body, "/v4/reloadtask/-/start?allTaskIdsMustExist=true").json()
    assert answer["tasksId"] == {"started": [], "invalid": [{"taskId": NOBODY}], "denied": [{"taskId": one}]}
    assert answer["tasksTag"] == [{"taskId": two, "taskName": "Tagged"}]
    assert (qlik.executions(one), qlik.executions(two)) == (0, 1)


@pytest.mark.parametrize("bad", [NOBODY, "abc"])
def test_one_missing_id_holds_all_ids_back(listening: ListeningDaemon, bad: str) -> None:
    one = listening.qlik.task()
    body = items(("starttaskid", {"taskId": bad}))
    answer = listening.post(body, f"/v4/reloadtask/{one}/start?allTaskIdsMustExist=true").json()
    assert answer["tasksId"] == {"started": [], "invalid": [{"taskId": bad}], "denied": [{"taskId": one}]}
    assert listening.qlik.executions(one) == 0


def test_a_malformed_id_in_the_path_is_400_for_an_object_and_invalid_for_an_array(
    listening: ListeningDaemon,
) -> None:
    ours = listening.post({}, "/v4/reloadtask/abc/start")
    assert (ours.status_code, ours.json()["error"]) == (400, "Invalid task ID format")
    butlers = listening.post([], "/v4/reloadtask/abc/start")
    assert butlers.status_code == 200
    assert butlers.json()["tasksId"]["invalid"] == [{"taskId": "abc"}]


def test_a_disabled_task_is_reported_in_both_forms(listening: ListeningDaemon) -> None:
    ours = listening.post({"taskId": DISABLED})
    assert ours.status_code == 200
    assert ours.json()["tasksFailed"][0]["code"] == "task_disabled"
    butlers = listening.post(items(("starttaskid", {"taskId": DISABLED})))
    assert butlers.json()["tasksId"] == {"started": [], "invalid": [], "denied": [{"taskId": DISABLED}]}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"\xff\xfe{\x00", 400, "invalid_json"),
        (b'{"tag": "\xe4"}', 400, "invalid_json"),
        (b'{"tag": NaN}', 400, "invalid_json"),
        (b'{"tag": "a", "tag": "b"}', 400, "invalid_json"),
        (b'{"tag": ' + b"[" * 50_000, 400, "invalid_json"),
        (b'{"tag": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "invalid_json"),
        (b'"text"', 400, "invalid_request"),
        (b"7", 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"tag": 7}', 400, "invalid_request"),
        (b'{"tag": "x"}' + b" " * 10_000_000, 413, "too_large"),
    ],
)
def test_invalid_bodies_are_answered_with_their_fault(
    listening: ListeningDaemon, body: bytes, status: int, code: str
) -> None:
    answer = listening.post(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    reply_shape.check(answer.json())


def test_a_bare_id_is_taken_over_rest_too(listening: ListeningDaemon) -> None:
    task = listening.qlik.task()
    assert started(listening.post(f" {task}\n".encode())) == [task]


def test_the_same_key_again_gets_the_stored_answer_and_starts_nothing(listening: ListeningDaemon) -> None:
    task, key = listening.qlik.task(), new_id()
    first = listening.post({"taskId": task}, headers={"Idempotency-Key": key})
    second = listening.post(
        {"taskId": [task.upper()], "requestId": key}, headers={"Idempotency-Key": f'"{key}"'}
    )
    assert first.json() == second.json()
    assert listening.qlik.executions(task) == 1
    other = listening.post({"tag": "urgent"}, headers={"Idempotency-Key": key})
    assert (other.status_code, other.json()["code"]) == (409, "request_id_conflict")


def test_a_butler_array_again_gets_the_same_answer(listening: ListeningDaemon) -> None:
    tag, key = new_id(), new_id()
    task = listening.qlik.task(tags=[tag])
    body = items(("starttasktag", {"tag": tag}), ("starttaskid", {"taskId": "abc"}))
    answers = [listening.post(body, headers={"Idempotency-Key": key}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["tasksTag"][0]["taskId"] == task
    assert listening.qlik.executions(task) == 1


def test_respond_async_is_recorded_and_answered_at_its_place(listening: ListeningDaemon) -> None:
    task = listening.qlik.task()
    answer = listening.post({"taskId": task}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    request_id = answer.headers["Location"].removeprefix("/v4/requests/")
    assert answer.json()["requestId"] == request_id
    state = listening.decided(request_id)
    assert (state["status"], state["totalTasksStarted"]) == ("ok", 1)
    assert state["tasksStarted"][0]["selectors"] == [{"taskId": task}]
    assert state["deliveries"][0]["door"] == "rest"


def test_the_state_tells_the_end_of_an_execution(listening: ListeningDaemon) -> None:
    task = listening.qlik.task()
    request_id = listening.post({"taskId": task}).json()["requestId"]

    def entry() -> Any:
        return listening.state(request_id)["tasksStarted"][0]

    until(lambda: entry()["state"] != "running", seconds=30)
    assert (entry()["state"], entry()["result"]) == ("succeeded", "succeeded")
    assert entry()["durationMs"] >= 0


def test_a_caller_can_wait_for_the_end_of_a_request(listening: ListeningDaemon) -> None:
    task = listening.qlik.task(durationSeconds=2)
    request_id = listening.post({"taskId": task}).json()["requestId"]
    before = listening.state(request_id)
    assert (before["finished"], "outcome" in before) == (False, False)
    state = listening.call("GET", f"/v4/requests/{request_id}?wait=30").json()
    assert (state["finished"], state["tasksStarted"][0]["result"]) == (True, "succeeded")
    assert state["outcome"] == "succeeded"


def test_waiting_for_the_end_is_bounded(listening: ListeningDaemon) -> None:
    task = listening.qlik.task(durationSeconds=600)
    request_id = listening.post({"taskId": task}).json()["requestId"]
    assert listening.call("GET", f"/v4/requests/{request_id}?wait=1").json()["finished"] is False
    listening.qlik.end(task)
    for wait in ("61", "-1", "soon", "1.5"):
        assert listening.call("GET", f"/v4/requests/{request_id}?wait={wait}").status_code == 400


def test_a_refused_request_is_answered_with_its_code(listening: ListeningDaemon) -> None:
    key = new_id()
    answer = listening.post({"taskId": [FINANCE, NOBODY], "allMustExist": True, "requestId": key})
    assert (answer.status_code, answer.json()["code"]) == (404, "all_must_exist")
    state = listening.state(key)
    assert (state["state"], state["status"], state["code"]) == ("refused", "failed", "all_must_exist")
    assert state["tasksNotFound"] == [{"taskId": NOBODY}]


def test_the_same_id_through_rest_and_mqtt_at_once_starts_once_and_both_are_answered(
    listening: ListeningDaemon,
) -> None:
    task, key = listening.qlik.task(), new_id()
    assert listening.broker is not None
    with Sender(listening.broker.port) as sender:
        body = {"taskId": task, "requestId": key}
        topic = sender.send(body)
        answer = listening.post(body)
        reply = sender.answer(topic)
    assert answer.json() == reply
    assert started(answer) == [task]
    assert listening.qlik.executions(task) == 1


def test_both_listeners_tell_health_readiness_and_metrics(listening: ListeningDaemon) -> None:
    for base in (listening.url, listening.monitoring):
        assert requests.get(base + "/healthz", timeout=5).json()["status"] == "ok"
        assert requests.get(base + "/readyz", timeout=5).json()["checks"]["subscription"] == "ok"
        assert "butler_mqtt_subscribed 1.0" in requests.get(base + "/metrics", timeout=5).text
    assert requests.post(listening.monitoring + "/v4/reloadtask/start", timeout=5).status_code == 404


def test_sales_runs_behind_itself_and_is_listed_as_started(listening: ListeningDaemon) -> None:
    listening.qlik.begin(SALES)
    answer = listening.post(items(("starttaskid", {"taskId": SALES})))
    assert answer.json()["tasksId"]["started"] == [{"taskId": SALES, "taskName": "Sales Report Update"}]
    listening.qlik.end(SALES)
