"""Butler's key-value store over REST: what its clients send, and what they read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.acceptance.rig import Qlik
from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon

Build = Callable[..., ListeningDaemon]


@pytest.fixture
def storing(build: Build) -> ListeningDaemon:
    return build(keyValueStore={"enable": True, "maxKeysPerNamespace": 3}).start()


def refusal(answer: requests.Response) -> tuple[int, dict[str, Any]]:
    found: dict[str, Any] = answer.json()
    return answer.status_code, found


def bad(message: str) -> tuple[int, dict[str, Any]]:
    return 400, {"statusCode": 400, "error": "Bad Request", "message": message}


def test_a_key_is_stored_read_listed_and_deleted_byte_for_byte_as_butler_does(
    storing: ListeningDaemon,
) -> None:
    post = storing.post({"key": "last run", "value": "2031-01-31", "ttl": 0}, "/v4/keyvalues/Sales%20ETL")
    assert (post.status_code, post.text) == (
        201,
        '{"namespace":"Sales ETL","key":"last run","value":"2031-01-31","ttl":0}',
    )
    assert post.headers["Content-Type"] == "application/json; charset=utf-8"
    get = storing.call("GET", "/v4/keyvalues/Sales%20ETL?key=last+run")
    assert (get.status_code, get.text) == (
        200,
        '{"namespace":"Sales ETL","key":"last run","value":"2031-01-31"}',
    )
    assert storing.call("GET", "/v4/keyvaluesnamespaces").text == '["Sales ETL"]'
    assert (
        storing.call("GET", "/v4/keylist/Sales%20ETL").text
        == '{"namespace":"Sales ETL","keys":[{"key":"last run"}]}'
    )
    assert storing.call("GET", "/v4/keyvalues/Sales%20ETL/keyexists?key=last%20run").text == (
        '{"keyExists":true,"keyValue":{"namespace":"Sales ETL","key":"last run","value":"2031-01-31"}}'
    )
    gone = storing.call("DELETE", "/v4/keyvalues/Sales%20ETL/last%20run")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (
        storing.call("GET", "/v4/keyvalues/Sales%20ETL/keyexists?key=last%20run").text
        == '{"keyExists":false,"keyValue":{}}'
    )
    assert storing.call("DELETE", "/v4/keyvalues/Sales%20ETL").status_code == 204
    assert storing.call("GET", "/v4/keyvaluesnamespaces").text == "[]"


def test_what_is_not_there_is_400_in_butlers_words(storing: ListeningDaemon) -> None:
    storing.post({"key": "a", "value": "1"}, "/v4/keyvalues/sales")
    for method, path, message in (
        ("GET", "/v4/keyvalues/hr?key=a", "Namespace not found: hr"),
        ("GET", "/v4/keyvalues/hr/keyexists?key=a", "Namespace not found: hr"),
        ("GET", "/v4/keylist/hr", "Namespace not found: hr"),
        ("DELETE", "/v4/keyvalues/hr", "Namespace not found: hr"),
        ("DELETE", "/v4/keyvalues/hr/a", "Namespace not found: hr"),
        ("GET", "/v4/keyvalues/sales?key=b", "Key 'b' not found in namespace: sales"),
        ("DELETE", "/v4/keyvalues/sales/b", "Key 'b' not found in namespace: sales"),
        ("GET", "/v4/keyvalues/sales", "querystring must have required property 'key'"),
        ("GET", "/v4/keyvalues/sales/keyexists", "querystring must have required property 'key'"),
    ):
        assert refusal(storing.call(method, path)) == bad(message), path


def test_bodies_are_read_with_fastifys_coercion(storing: ListeningDaemon) -> None:
    for sent, stored in (
        ({"key": 5, "value": 1.0}, {"namespace": "n", "key": "5", "value": "1", "ttl": 0}),
        ({"key": True, "value": None}, {"namespace": "n", "key": "true", "value": "", "ttl": 0}),
        (
            {"key": "k", "value": "v", "ttl": "60000"},
            {"namespace": "n", "key": "k", "value": "v", "ttl": 60000},
        ),
        ({"key": "k", "value": "v", "ttl": 1.9}, {"namespace": "n", "key": "k", "value": "v", "ttl": 1}),
    ):
        assert storing.post(sent, "/v4/keyvalues/n").json() == stored
    for body, message in (
        ({"value": "v"}, "Required parameter is missing"),
        ({"key": "", "value": "v"}, "Required parameter is missing"),
        ({"key": "k"}, "Required parameter is missing"),
        ({"key": ["k"], "value": "v"}, "body/key must be string"),
        ({"key": "k", "value": {}}, "body/value must be string"),
        ({"key": "k", "value": "v", "ttl": "soon"}, "body/ttl must be number"),
        ({"key": "k", "value": "v", "ttl": "1_000"}, "body/ttl must be number"),
        ([], "body must be object"),
        ({"key": "k", "value": "x" * 32769}, "parameters.n.k has 32769 bytes, 32768 are allowed"),
        ({"key": "k" * 257, "value": "v"}, None),
    ):
        status, answer = refusal(storing.post(body, "/v4/keyvalues/n"))
        assert (status, message in {None, answer["message"]}) == (400, True), (body, answer)
    assert (
        storing.post(b"{", "/v4/keyvalues/n", headers={"Content-Type": "application/json"}).status_code == 400
    )
    wrong = storing.post(b"a=1", "/v4/keyvalues/n", headers={"Content-Type": "text/csv"})
    assert (wrong.status_code, wrong.json()["error"]) == (415, "Unsupported Media Type")


def test_odd_names_are_names(storing: ListeningDaemon) -> None:
    for name in ("a/b", "ä ö", "100%", "?&#", "'\"<b>", "日本"):
        place = f"/v4/keyvalues/{quote(name, safe='')}"
        assert storing.post({"key": name, "value": name}, place).json()["namespace"] == name
        assert storing.call("GET", place, params={"key": name}).json() == {
            "namespace": name,
            "key": name,
            "value": name,
        }
        assert storing.call("DELETE", f"{place}/{quote(name, safe='')}").status_code == 204
        assert storing.call("DELETE", place).status_code == 204


def test_a_name_that_is_no_utf_8_is_refused_and_not_taken_for_another(storing: ListeningDaemon) -> None:
    for name in ("%ED%A0%80", "%FF"):
        answer = storing.post({"key": "a", "value": "1"}, f"/v4/keyvalues/{name}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert storing.call("GET", "/v4/keyvaluesnamespaces").json() == []


def test_a_key_beyond_the_limit_is_refused_with_the_setting(storing: ListeningDaemon) -> None:
    for key in "abc":
        assert storing.post({"key": key, "value": "1"}, "/v4/keyvalues/full").status_code == 201
    status, answer = refusal(storing.post({"key": "d", "value": "1"}, "/v4/keyvalues/full"))
    assert (status, "keyValueStore.maxKeysPerNamespace" in answer["message"]) == (400, True)


def test_a_time_to_live_ends_a_key(storing: ListeningDaemon) -> None:
    stored = storing.post({"key": "a", "value": "1", "ttl": 50}, "/v4/keyvalues/short")
    assert (stored.status_code, stored.json()["ttl"]) == (201, 50)
    until(lambda: not storing.call("GET", "/v4/keyvalues/short/keyexists?key=a").json()["keyExists"])


def test_keys_outlive_a_kill(storing: ListeningDaemon) -> None:
    storing.post({"key": "a", "value": "1"}, "/v4/keyvalues/sales")
    storing.daemon.kill()
    storing.start()
    assert storing.call("GET", "/v4/keyvalues/sales?key=a").json()["value"] == "1"


def test_butlers_array_stores_before_it_starts(storing: ListeningDaemon, qlik: Qlik) -> None:
    task = qlik.task("Sales")
    body = [
        {"type": "starttaskid", "payload": {"taskId": task}},
        {"type": "keyvaluestore", "payload": {"namespace": "N", "key": "K", "value": 5, "ttl": "60000"}},
        {"type": "keyvaluestore", "payload": {"namespace": "N", "key": "no value"}},
    ]
    answer = storing.post(body, "/v4/reloadtask/-/start")
    assert (answer.status_code, len(answer.json()["tasksId"]["started"])) == (200, 1)
    assert storing.call("GET", "/v4/keyvalues/N?key=K").json()["value"] == "5"
    assert storing.call("GET", "/v4/keylist/N").json()["keys"] == [{"key": "K"}]
    only = storing.post([{"type": "keyvaluestore", "payload": {"namespace": "M", "key": "K", "value": "1"}}])
    assert (only.status_code, storing.call("GET", "/v4/keyvalues/M?key=K").json()["value"]) == (200, "1")


def test_an_array_that_comes_again_stores_nothing_again(storing: ListeningDaemon, qlik: Qlik) -> None:
    task = qlik.task("Sales")
    body = [
        {"type": "starttaskid", "payload": {"taskId": task}},
        {"type": "keyvaluestore", "payload": {"namespace": "N", "key": "K", "value": "first"}},
    ]
    once = {"Idempotency-Key": "nightly-1"}
    first = storing.post(body, headers=once)
    storing.post({"key": "K", "value": "changed since"}, "/v4/keyvalues/N")
    again = storing.post(body, headers=once)
    assert (first.status_code, again.json()) == (200, first.json())
    assert storing.call("GET", "/v4/keyvalues/N?key=K").json()["value"] == "changed since"
    assert qlik.executions(task) == 1


def test_an_array_whose_key_has_no_room_starts_nothing(storing: ListeningDaemon, qlik: Qlik) -> None:
    task = qlik.task("Sales")
    body: list[dict[str, Any]] = [{"type": "starttaskid", "payload": {"taskId": task}}]
    body += [
        {"type": "keyvaluestore", "payload": {"namespace": "N", "key": key, "value": "1"}} for key in "abcd"
    ]
    answer = storing.post(body)
    assert (answer.status_code, "nothing was started" in answer.json()["details"]) == (400, True)
    assert qlik.executions(task) == 0


def test_a_request_stores_what_its_load_script_reads(storing: ListeningDaemon, qlik: Qlik) -> None:
    task = qlik.task("Sales")
    reply = storing.post({"taskId": task, "parameters": {"sales": {"company": "ACME", "year": 2031}}}).json()
    assert reply["status"] == "ok"
    found = {
        key: storing.call("GET", f"/v4/keyvalues/sales?key={key}").json()["value"]
        for key in ("company", "year")
    }
    assert found == {"company": "ACME", "year": "2031"}


def test_the_store_asks_for_tokens_as_starts_do(build: Build) -> None:
    token = {"name": "erp", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
    closed = build({"auth": {"tokens": [token]}}, keyValueStore={"enable": True}).start()
    assert closed.post({"key": "a", "value": "1"}, "/v4/keyvalues/n").status_code == 401
    assert closed.call("GET", "/v4/keyvaluesnamespaces").status_code == 401
    closed.session.headers["Authorization"] = "Bearer test"
    assert closed.post({"key": "a", "value": "1"}, "/v4/keyvalues/n").status_code == 201


def test_what_any_path_may_refuse_is_refused_in_butlers_form_here(build: Build) -> None:
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    tokens = [{"name": "wall-display", "sha256": digest, "role": "reader"}]
    daemon = build({"auth": {"tokens": tokens}, "maxBodyBytes": 100}, keyValueStore={"enable": True}).start()
    no_token = daemon.call("GET", "/v4/keylist/n")
    daemon.session.headers["Authorization"] = "Bearer test"
    refused = [
        no_token,
        daemon.post({"key": "a", "value": "1"}, "/v4/keyvalues/n"),
        daemon.call("GET", "/v4/keyvalues/n/a/b"),
        daemon.call("PUT", "/v4/keyvaluesnamespaces"),
        daemon.call("GET", "/v4/keyvaluesnamespaces", data="x" * 101),
    ]
    assert [list(one.json().values())[:3] for one in refused] == [
        [401, "unauthorized", "Unauthorized"],
        [403, "forbidden", "Forbidden"],
        [404, "not_found", "Not Found"],
        [405, "method_not_allowed", "Method Not Allowed"],
        [413, "too_large", "Payload Too Large"],
    ]
    assert {tuple(one.json()) for one in refused} == {("statusCode", "code", "error", "message")}
    assert [one.status_code for one in refused] == [one.json()["statusCode"] for one in refused]


@pytest.mark.parametrize(
    "sections",
    [{}, {"keyValueStore": {"enable": True}, "restServerEndpointsEnable": {"keyValueStore": False}}],
    ids=["store off", "endpoints off"],
)
def test_without_the_store_or_its_endpoints_the_paths_are_not_there(
    build: Build, sections: dict[str, dict[str, object]]
) -> None:
    daemon = build(**sections).start()
    for path in ("/v4/keyvaluesnamespaces", "/v4/keylist/n", "/v4/keyvalues/n?key=k"):
        answer = daemon.call("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_closed_endpoints_leave_parameters_of_requests_open(build: Build, qlik: Qlik) -> None:
    daemon = build(keyValueStore={"enable": True}, restServerEndpointsEnable={"keyValueStore": False}).start()
    reply = daemon.post({"taskId": qlik.task("Sales"), "parameters": {"n": {"k": "v"}}})
    assert (reply.status_code, json.loads(reply.text)["status"]) == (200, "ok")
