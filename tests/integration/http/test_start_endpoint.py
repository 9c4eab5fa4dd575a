"""From HTTP to an arrival, and from the reply to HTTP."""

from __future__ import annotations

import gzip
import json
import threading

import pytest
import requests

from butler_mqtt.errors import JournalError
from butler_mqtt.settings import RestSettings
from tests.brokers import until
from tests.integration.http.hostile_client import START
from tests.integration.http.rest_listener import door

TASK = "a8b4c123-def4-5678-9abc-def012345678"
PATHS = ["/v4/reloadtask/start", f"/v4/reloadtask/{TASK}/start", "/v4/reloadtask/-/start"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", PATHS)
def test_both_methods_and_three_paths_hand_the_body_in_as_it_is(method: str, path: str) -> None:
    with door() as one:
        body = b' {"tag": ["x"], "tag2": 1}\n'
        answer = requests.request(method, one.url + path, data=body, timeout=10)
        [arrival] = one.pipeline.arrivals
        assert arrival.payload == body
        assert arrival.path_task_id == (TASK if TASK in path else None)
        assert (arrival.door, arrival.principal, arrival.message) == ("rest", None, None)
        assert answer.status_code == 200
        assert answer.json()["requestId"] == arrival.request_id
        assert answer.headers["Content-Type"] == "application/json"


def test_the_reply_is_given_unchanged_and_points_to_the_state() -> None:
    with door() as one:
        one.pipeline.answer = {"status": "ok", "tasksStarted": [{"taskName": "Größe"}]}
        answer = requests.post(one.start, json={"requestId": "r-1", "tag": "x"}, timeout=10)
        assert answer.json() == {"requestId": "r-1", **one.pipeline.answer}
        assert answer.headers["Content-Location"] == "/v4/requests/r-1"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("task_disabled", 400),
        ("unauthorized", 401),
        ("all_denied", 403),
        ("all_must_exist", 404),
        ("request_id_conflict", 409),
        ("expired", 410),
        ("too_large", 413),
        ("rate_limited", 429),
        ("qrs_forbidden", 502),
        ("qrs_rejected", 502),
        ("qrs_unavailable", 503),
        ("internal_error", 500),
    ],
)
def test_each_code_has_its_status(code: str, status: int) -> None:
    with door() as one:
        one.pipeline.answer = {"error": "E", "details": "D", "code": code}
        answer = requests.post(one.start, json={"tag": "x"}, timeout=10)
        assert answer.status_code == status
        assert answer.json()["code"] == code
        assert ("Retry-After" in answer.headers) == (code in {"rate_limited", "qrs_unavailable"})


@pytest.mark.parametrize("header", ["key-1", '"key-1"', "key-1 "])
def test_the_idempotency_key_is_the_request_id(header: str) -> None:
    with door() as one:
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Idempotency-Key": header}, timeout=10)
        assert one.pipeline.arrivals[0].request_id == "key-1"
        assert answer.json()["requestId"] == "key-1"


@pytest.mark.parametrize("header", ["", '""', "a b", "x" * 129, "ä".encode()])
def test_an_idempotency_key_that_cannot_be_an_id_is_refused(header: str | bytes) -> None:
    with door() as one:
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Idempotency-Key": header}, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize(("second", "status"), [(b"a", 200), (b"b", 400)], ids=["equal", "different"])
def test_a_second_idempotency_key_counts_only_where_it_is_the_same(second: bytes, status: int) -> None:
    head = START + b"Connection: close\r\nIdempotency-Key: a\r\nIdempotency-Key: %b\r\n" % second
    with door() as one:
        ended = one.hostile.send(head + b'Content-Length: 14\r\n\r\n{"tag": "all"}')
        assert ended.status == status
        assert len(one.pipeline.arrivals) == (status == 200)


def test_two_different_ids_in_header_and_body_are_refused() -> None:
    with door() as one:
        headers = {"Idempotency-Key": "a"}
        answer = requests.post(one.start, json={"tag": "x", "requestId": "b"}, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert one.pipeline.arrivals == []
        assert requests.post(one.start, json={"tag": "x", "requestId": "a"}, headers=headers, timeout=10).ok


@pytest.mark.parametrize("key", [r"\u0072equestId", r"request\u0049d", r"requestI\u0064"])
def test_the_id_in_the_body_is_compared_however_its_key_is_written(key: str) -> None:
    with door() as one:
        headers = {"Idempotency-Key": "a"}
        other, same = (f'{{"tag": "x", "{key}": "{written}"}}' for written in ("b", r"\u0061"))
        answer = requests.post(one.start, data=other, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert one.pipeline.arrivals == []
        assert requests.post(one.start, data=same, headers=headers, timeout=10).ok


def test_what_is_not_answered_in_time_gets_202_and_the_place_of_the_answer() -> None:
    with door(RestSettings(rest_wait_seconds=0.1)) as one:
        one.pipeline.answer = None
        answer = requests.post(one.start, json={"tag": "x", "requestId": "r-1"}, timeout=10)
        assert answer.status_code == 202
        assert answer.json() == {"requestId": "r-1", "status": "accepted"}
        assert answer.headers["Location"] == "/v4/requests/r-1"


@pytest.mark.parametrize("wish", ["respond-async", "wait=5, respond-async", "Respond-Async; foo"])
def test_respond_async_gets_202_at_once(wish: str) -> None:
    with door(RestSettings(rest_wait_seconds=600)) as one:
        one.pipeline.answer = None
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Prefer": wish}, timeout=10)
        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == "respond-async"


@pytest.mark.parametrize("reply", [{"status": "ok", "tasksStarted": []}, {"code": "all_denied"}])
def test_respond_async_gets_202_however_fast_the_request_is_decided(reply: dict[str, object]) -> None:
    with door() as one:
        one.pipeline.answer = reply
        body = {"tag": "x", "requestId": "r"}
        answer = requests.post(one.start, json=body, headers={"Prefer": "respond-async"}, timeout=10)
        assert (answer.status_code, answer.headers["Location"]) == (202, "/v4/requests/r")


def test_an_invalid_request_with_respond_async_is_refused_at_once() -> None:
    with door() as one:
        one.pipeline.answer = {"code": "request_id_conflict"}
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Prefer": "respond-async"}, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (409, "request_id_conflict")


def test_a_refused_idempotency_key_is_answered_with_a_request_id() -> None:
    with door() as one:
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Idempotency-Key": "a b"}, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["requestId"]


def test_the_wait_ends_when_the_listener_does() -> None:
    with door(RestSettings(rest_wait_seconds=600)) as one:
        one.pipeline.answer = None
        answers: list[requests.Response] = []
        caller = threading.Thread(
            target=lambda: answers.append(requests.post(one.start, json={"tag": "x"}, timeout=30))
        )
        caller.start()
        until(lambda: one.pipeline.arrivals)
        one.listener.stop(10)
        caller.join(10)
        assert [answer.status_code for answer in answers] == [202]


def test_a_blocked_journal_gets_503_and_nothing_is_handed_in() -> None:
    with door() as one:
        one.pipeline.obstacle = "the journal cannot be written"
        answer = requests.post(one.start, json={"tag": "x"}, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
        assert int(answer.headers["Retry-After"]) > 0
        assert one.pipeline.arrivals == []


def test_a_request_that_is_not_stored_in_time_gets_503_and_is_left_out() -> None:
    with door(store_seconds=0.1) as one:
        one.pipeline.stores = False
        answer = requests.post(one.start, json={"tag": "x"}, headers={"Idempotency-Key": "k"}, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
        assert answer.json()["requestId"] == "k"
        assert "nothing was started" in answer.json()["details"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=UTF-8", 200),
        ('application/json; charset="utf-8"', 200),
        ("application/x-www-form-urlencoded", 200),
        ("text/plain", 200),
        ("application/json; charset=ISO-8859-1", 200),
        ("application/json; charset=windows-1252", 200),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=utf-7", 415),
        ("application/json; charset=x", 415),
    ],
)
def test_the_charset_is_utf_8_whatever_the_media_type(content_type: str, status: int) -> None:
    with door() as one:
        answer = requests.post(
            one.start, data=b'{"tag": "x"}', headers={"Content-Type": content_type}, timeout=10
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json; charset=iso-8859-1"}, '{"tag": "ä"}'.encode("latin-1")),
        ({"Content-Type": "application/json; charset=iso-8859-1"}, '{"tag": "ä"}'.encode()),
        ({"Content-Type": "application/json; charset=utf-16le"}, '{"tag": "a"}'.encode("utf-16le")),
        ({"Content-Encoding": "gzip"}, gzip.compress(b'{"tag": "a"}')),
        ({"Content-Encoding": "identity, br"}, b'{"tag": "a"}'),
    ],
)
def test_an_encoding_that_is_not_taken_gets_415_and_nothing_is_handed_in(
    headers: dict[str, str], body: bytes
) -> None:
    with door() as one:
        answer = requests.post(one.start, data=body, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert next(iter(headers)) in answer.json()["details"]
        assert answer.headers["Accept-Encoding"] == "identity"
        assert one.pipeline.arrivals == []


def test_the_coding_identity_is_none() -> None:
    with door() as one:
        headers = {"Content-Encoding": "Identity"}
        assert requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10).status_code == 200


def test_an_array_in_utf_16_is_refused_with_the_cause() -> None:
    with door() as one:
        answer = requests.post(one.start, data="[]".encode("utf-16le"), timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
        assert "UTF-16, as PowerShell writes by default" in answer.json()["details"]


@pytest.mark.parametrize("body", [b"[]", b" \r\n\t[]", b"\xef\xbb\xbf[]", b"[]\0\0"])
def test_an_empty_array_gets_butlers_answer_without_a_request(body: bytes) -> None:
    with door() as one:
        answer = requests.put(one.url + PATHS[2], data=body, timeout=10)
        assert answer.status_code == 200
        assert answer.json()["tasksId"] == {"started": [], "invalid": [], "denied": []}
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize(
    "body", [b"[", b"[1,]", b'[{"type": 1e999}]', b"[NaN]", b"[] []", b"[" * 100_000, b'["\xff"]']
)
def test_an_array_that_cannot_be_read_is_refused_with_the_place(body: bytes) -> None:
    with door() as one:
        answer = requests.post(one.start, data=body, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
        assert answer.json()["details"].startswith("line 1, column")


def test_the_last_of_a_repeated_key_counts_in_an_array() -> None:
    with door() as one:
        body = b'[{"type": "starttaskid", "type": "starttasktag", "payload": {"tag": "x", "tag": 5}}]'
        requests.put(one.start, data=body, headers={"Prefer": "respond-async"}, timeout=10)
        assert json.loads(one.pipeline.arrivals[0].payload) == {"tag": ["5"]}
        answer = requests.put(one.start, data=b'{"tag": "x", "tag": "y"}', timeout=10)
        assert answer.status_code == 200
        assert one.pipeline.arrivals[1].payload == b'{"tag": "x", "tag": "y"}'


@pytest.mark.parametrize("charset", ["ISO-8859-1", "utf-16", "nonsense"])
def test_a_charset_is_not_read_beside_an_array_that_is_utf_8(charset: str) -> None:
    with door() as one:
        headers = {"Content-Type": f"application/json; charset={charset}", "Prefer": "respond-async"}
        body = '[{"type": "starttasktag", "payload": {"tag": "ä"}}]'
        answer = requests.put(one.start, data=body.encode(), headers=headers, timeout=10)
        assert answer.status_code in {200, 202}
        assert json.loads(one.pipeline.arrivals[0].payload) == {"tag": ["ä"]}


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16-le"])
def test_an_array_in_another_encoding_is_refused_with_the_charset_as_the_cause(charset: str) -> None:
    with door() as one:
        body = '[{"type": "starttasktag", "payload": {"tag": "ä"}}]'.encode(charset)
        headers = {"Content-Type": f"application/json; charset={charset}"}
        answer = requests.put(one.start, data=body, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert f"the charset '{charset}'" in answer.json()["details"]
        assert one.pipeline.arrivals == []


def test_ignored_items_of_an_array_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with door() as one, caplog.at_level("WARNING", "butler_mqtt.http"):
        answer = requests.put(one.url + PATHS[2], json=[{}] * 7, timeout=10)
        assert (answer.status_code, answer.json()["tasksTag"]) == (200, [])
        (line,) = [record for record in caplog.records if record.__dict__["action"] == "rest_items_ignored"]
        assert line.getMessage().startswith("7 items of an array in Butler's form were ignored")
        assert line.getMessage().endswith("[4] has no type; …")


def test_an_array_whose_quotes_a_shell_removed_is_refused_with_the_line_that_works() -> None:
    with door() as one:
        answer = requests.post(one.start, data=b"[{type:starttasktag,payload:{tag:x}}]", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
        assert "in PowerShell 5.1 write" in answer.json()["details"]


def test_an_array_is_handed_in_as_a_request_and_answered_in_butlers_form() -> None:
    with door() as one:
        one.pipeline.states["k"] = {
            "tasksStarted": [
                {"taskId": TASK, "taskName": "T", "status": "started", "selectors": [{"tag": "x"}]}
            ],
            "tasksNotFound": [],
        }
        items = [{"type": "starttasktag", "payload": {"tag": "x"}}]
        answer = requests.put(one.url + PATHS[2], json=items, headers={"Idempotency-Key": "k"}, timeout=10)
        assert json.loads(one.pipeline.arrivals[0].payload) == {"tag": ["x"]}
        assert answer.json()["tasksTag"] == [{"taskId": TASK, "taskName": "T"}]


@pytest.mark.parametrize(("code", "status"), [("all_denied", 200), ("all_must_exist", 200), ("expired", 410)])
def test_butlers_answer_has_status_200_unless_nothing_could_be_decided(code: str, status: int) -> None:
    with door() as one:
        one.pipeline.answer = {"error": "E", "details": "D", "code": code}
        one.pipeline.states["k"] = {"tasksStarted": [], "tasksNotFound": []}
        items = [{"type": "starttasktag", "payload": {"tag": "x"}}]
        answer = requests.put(one.start, json=items, headers={"Idempotency-Key": "k"}, timeout=10)
        assert answer.status_code == status
        assert ("tasksId" in answer.json()) == (status == 200)


@pytest.mark.parametrize(("value", "wanted"), [("true", "taskId"), ("false", None)])
def test_all_task_ids_must_exist_is_read_from_the_query(value: str, wanted: str | None) -> None:
    with door() as one:
        url = f"{one.url}{PATHS[1]}?allTaskIdsMustExist={value}"
        requests.post(url, json=[], headers={"Idempotency-Key": "k", "Prefer": "respond-async"}, timeout=10)
        assert json.loads(one.pipeline.arrivals[0].payload).get("allMustExist") == wanted


def test_all_task_ids_must_exist_is_not_ignored_beside_an_object() -> None:
    with door() as one:
        for query, body in (("allTaskIdsMustExist=true", {"tag": "x"}), ("allTaskIdsMustExist=1", [])):
            answer = requests.post(f"{one.start}?{query}", json=body, timeout=10)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_the_state_of_a_request_is_returned() -> None:
    with door() as one:
        one.pipeline.states["r-1"] = {"requestId": "r-1", "state": "closed", "finished": True}
        answer = requests.get(one.url + "/v4/requests/r-1", timeout=10)
        assert (answer.status_code, answer.json()["state"]) == (200, "closed")
        missing = requests.get(one.url + "/v4/requests/r-2", timeout=10)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("POST", "/v4/reloadtask", 404, None),
        ("POST", "/v4/reloadtask//start", 404, None),
        ("POST", "/v4/reloadtask/a/b/start", 404, None),
        ("GET", PATHS[0], 405, {"POST", "PUT"}),
        ("DELETE", PATHS[1], 405, {"POST", "PUT"}),
        ("POST", "/healthz", 405, {"GET", "HEAD"}),
        ("HEAD", "/healthz", 200, None),
        ("HEAD", PATHS[0], 405, {"POST", "PUT"}),
        ("OPTIONS", PATHS[0], 204, {"POST", "PUT", "OPTIONS"}),
        ("OPTIONS", "/docs", 204, {"GET", "HEAD", "OPTIONS"}),
        ("OPTIONS", "/nothing", 404, None),
    ],
)
def test_unknown_paths_and_wrong_methods_are_named(
    method: str, path: str, status: int, allow: set[str] | None
) -> None:
    with door() as one:
        answer = requests.request(method, one.url + path, timeout=10)
        assert answer.status_code == status
        if allow is not None:
            assert {name.strip() for name in answer.headers["Allow"].split(",")} == allow
        if status >= 400 and method != "HEAD":
            assert set(answer.json()) == {"error", "details", "code"}


def test_a_wrong_method_is_answered_with_those_that_are_allowed() -> None:
    with door() as one:
        answer = requests.get(one.url + PATHS[0], timeout=10)
        assert answer.json()["details"] == "GET is not allowed here; allowed: POST, PUT"


def test_a_fault_of_ours_is_answered_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with door() as one:
        one.pipeline.bug = RuntimeError("secret")
        answer = requests.get(one.url + "/v4/requests/x", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert one.pipeline.refusals == ["internal_error"]
    assert "RuntimeError: secret" in caplog.text


def test_a_journal_that_cannot_be_read_is_a_503() -> None:
    with door() as one:
        one.pipeline.bug = JournalError("the journal is locked", recoverable=True)
        answer = requests.get(one.url + "/v4/requests/x", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
