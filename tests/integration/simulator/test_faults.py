"""Each fault over a real TLS connection."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from tests.integration.simulator.running import LONG, QUICK, Client

_START = "/qrs/task/*/start/synchronous"
_ABOUT = "/qrs/about"


def _executions(qrs: Client) -> int:
    count: int = qrs.admin("GET", "/starts")["executions"]
    return count


def _start(qrs: Client, **options: Any) -> requests.Response:
    return qrs.call("POST", f"task/{LONG}/start/synchronous", **options)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(("when", "executions"), [("before", 0), ("after", 1)])
def test_a_connection_is_cut_before_or_after_the_effect(
    qrs: Client, when: str, executions: int, reset: bool
) -> None:
    qrs.plant(kind="cut", path=_START, when=when, reset=reset)
    with pytest.raises(requests.ConnectionError):
        _start(qrs)
    assert _executions(qrs) == executions
    call = qrs.admin("GET", "/calls")["calls"][-1]
    assert (call["status"], len(call["executionIds"])) == (0, executions)
    assert qrs.call("GET", "about").status_code == 200


def test_an_answer_can_end_in_the_middle(qrs: Client) -> None:
    qrs.plant(kind="truncate", path=_START)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _start(qrs)
    assert _executions(qrs) == 1


@pytest.mark.parametrize(("when", "executions"), [("before", 0), ("after", 1)])
def test_a_call_can_hang(qrs: Client, when: str, executions: int) -> None:
    qrs.plant(kind="hang", path=_START, when=when, seconds=30)
    with pytest.raises(requests.ReadTimeout):
        _start(qrs, timeout=0.3)
    assert _executions(qrs) == executions


def test_a_call_that_hangs_is_cut_in_the_end(qrs: Client) -> None:
    qrs.plant(kind="hang", path=_ABOUT, seconds=0.2)
    with pytest.raises(requests.ConnectionError):
        qrs.call("GET", "about")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_can_be_slow(qrs: Client, when: str) -> None:
    qrs.plant(kind="slow", path=_START, when=when, seconds=0.3)
    began = time.monotonic()
    assert _start(qrs).status_code == 201
    assert time.monotonic() - began >= 0.3


def test_the_effect_of_a_slow_call_comes_before_or_after_the_wait(qrs: Client) -> None:
    qrs.plant(kind="slow", path=_START, when="before", seconds=30)
    with pytest.raises(requests.ReadTimeout):
        _start(qrs, timeout=0.3)
    assert _executions(qrs) == 0
    qrs.plant(kind="slow", path=_START, when="after", seconds=30)
    with pytest.raises(requests.ReadTimeout):
        _start(qrs, timeout=0.3)
    assert _executions(qrs) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
@pytest.mark.parametrize(("when", "executions"), [("before", 0), ("after", 1)])
def test_a_status_can_come_before_or_after_the_effect(
    qrs: Client, status: int, when: str, executions: int
) -> None:
    qrs.plant(kind="status", path=_START, status=status, when=when)
    response = _start(qrs)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/plain")
    assert _executions(qrs) == executions


def test_retry_after_can_be_told(qrs: Client) -> None:
    qrs.plant(kind="status", path=_ABOUT, status=429, retryAfter=7)
    assert qrs.call("GET", "about").headers["retry-after"] == "7"


def test_the_two_kinds_of_403_differ_in_their_text(qrs: Client) -> None:
    qrs.plant(kind="status", path=_ABOUT, status=403)
    qrs.plant(kind="xsrf", path=_ABOUT)
    texts = [qrs.call("GET", "about").text for _ in range(2)]
    assert texts == ["Forbidden", "XSRF prevention check failed. Possible XSRF discovered."]


@pytest.mark.parametrize("status", [200, 502])
def test_html_can_come_instead(qrs: Client, status: int) -> None:
    qrs.plant(kind="html", path="/qrs/task/full", status=status)
    response = qrs.call("GET", "task/full")
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("kind", ["html", "garbage", "empty", "wrongJson"])
def test_a_wrong_body_after_the_effect_keeps_the_status(qrs: Client, kind: str) -> None:
    qrs.plant(kind=kind, path=_START, when="after")
    assert _start(qrs).status_code == 201
    assert _executions(qrs) == 1


def test_garbage_and_an_empty_body_are_no_json_and_wrong_json_has_another_shape(qrs: Client) -> None:
    for kind in ("garbage", "empty"):
        qrs.plant(kind=kind, path=_ABOUT)
        with pytest.raises(requests.JSONDecodeError):
            qrs.call("GET", "about").json()
    qrs.plant(kind="wrongJson", path=_ABOUT)
    qrs.plant(kind="wrongJson", path=_ABOUT, body="[null]")
    assert [qrs.get("about") for _ in range(2)] == [{"unexpected": ["shape"]}, [None]]


def test_a_fault_strikes_as_often_as_asked_after_letting_some_pass(qrs: Client) -> None:
    qrs.plant(kind="status", path=_ABOUT, status=500, skip=1, count=2)
    assert [qrs.call("GET", "about").status_code for _ in range(5)] == [200, 500, 500, 200, 200]


def test_a_fault_by_chance_strikes_the_same_calls_for_the_same_seed(qrs: Client) -> None:
    rows = []
    for _ in range(2):
        fault = qrs.plant(kind="status", path=_ABOUT, status=503, count=None, probability=0.5, seed=7)
        rows.append([qrs.call("GET", "about").status_code for _ in range(20)])
        qrs.admin("DELETE", f"/faults/{fault}")
    assert rows[0] == rows[1]
    assert set(rows[0]) == {200, 503}


def test_a_fault_strikes_only_its_method_path_and_task(qrs: Client) -> None:
    qrs.plant(kind="status", status=500, method="post", taskId=LONG, count=None)
    assert qrs.call("GET", f"reloadtask/{LONG}").status_code == 200
    assert qrs.call("POST", f"task/{QUICK}/start").status_code == 204
    assert qrs.call("POST", f"task/{LONG}/start").status_code == 500


def test_faults_are_listed_and_taken_out(qrs: Client) -> None:
    planted = qrs.admin("POST", "/faults", [{"kind": "empty"}, {"kind": "cut", "when": "after"}])
    assert qrs.admin("GET", "/faults") == planted
    assert [fault["when"] for fault in planted] == ["before", "after"]
    qrs.admin("DELETE", "/faults")
    assert qrs.admin("GET", "/faults") == []


@pytest.mark.parametrize("position", ["abort", "refuse"])
def test_a_server_that_is_down_takes_no_connection_until_it_is_up(qrs: Client, position: str) -> None:
    assert qrs.call("GET", "about").status_code == 200
    qrs.switch(listener=position)
    for _ in range(2):
        with pytest.raises(requests.ConnectionError):
            qrs.call("GET", "about")
    qrs.switch(listener="up")
    assert qrs.call("GET", "about").status_code == 200
