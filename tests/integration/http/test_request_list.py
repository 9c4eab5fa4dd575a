"""`GET /v4/requests`: the list, its filters and its pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

from butler_mqtt.errors import JournalError
from butler_mqtt.http.api.query_parameters import LIMIT
from butler_mqtt.http.backend import ListQuery
from tests.integration.http.daemon_with_listeners import NOBODY, ListeningDaemon
from tests.integration.http.rest_listener import door


def new_id() -> str:
    return str(uuid.uuid4())


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["requestId"] for one in answer["requests"]]


@pytest.fixture
def ask(listening: ListeningDaemon) -> Any:
    def asked(**parameters: str) -> dict[str, Any]:
        answer = listening.call("GET", "/v4/requests", params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return asked


def test_pages_hold_each_request_once_the_newest_first(listening: ListeningDaemon, ask: Any) -> None:
    sender = new_id()
    sent = [new_id() for _ in range(7)]
    for request_id in sent:
        listening.post({"requestId": request_id, "taskId": NOBODY, "sender": sender})
    pages = [ask(sender=sender, limit="3")]
    # What arrives between two pages moves none of what follows.
    listening.post({"taskId": NOBODY, "sender": sender})
    while pages[-1]["next"] is not None:
        pages.append(ask(sender=sender, limit="3", after=pages[-1]["next"]))
    assert [ids(page) for page in pages] == [sent[6:3:-1], sent[3:0:-1], sent[0:1]]


def test_an_entry_is_what_the_request_itself_shows(listening: ListeningDaemon, ask: Any) -> None:
    request_id = new_id()
    listening.post({"requestId": request_id, "taskId": NOBODY, "sender": request_id})
    assert ask(sender=request_id) == {"requests": [listening.state(request_id)], "next": None}


def test_each_filter_leaves_out_what_does_not_fit(listening: ListeningDaemon, ask: Any) -> None:
    qlik, tag, sender = listening.qlik, new_id(), new_id()
    task = qlik.task(f"Task {sender}", tags=[tag], durationSeconds=600)
    started, missed, refused = new_id(), new_id(), new_id()
    listening.post({"requestId": started, "tag": tag, "sender": sender, "wait": "started"})
    listening.post({"requestId": missed, "taskId": NOBODY, "sender": sender})
    listening.post({"requestId": refused, "taskId": NOBODY, "allMustExist": True, "sender": sender})
    assert ids(ask(sender=sender)) == [refused, missed, started]
    assert ids(ask(task=task)) == ids(ask(task=f"task {sender}")) == [started]
    assert ids(ask(tag=tag)) == [started]
    assert ids(ask(sender=sender, state="refused")) == [refused]
    assert ids(ask(sender=sender, state="failed")) == [missed]
    assert ids(ask(sender=sender, code="all_must_exist")) == [refused]
    assert ids(ask(sender=sender, since="1h")) == [refused, missed, started]
    assert ids(ask(sender=sender, since="2100-01-01T00:00:00Z")) == []
    assert ids(ask(sender=sender, state="open")) == [started]
    qlik.end(task)
    listening.call("GET", f"/v4/requests/{started}?wait=30")
    assert ids(ask(sender=sender, state="open")) == []
    assert ids(ask(sender=sender, state="failed")) == [missed, started]
    assert ids(ask(sender=sender, state="succeeded")) == []


@pytest.mark.parametrize(
    ("parameters", "details"),
    [
        ({"state": "done"}, "not one of open, succeeded, failed, refused, cancelled"),
        ({"limit": "0"}, "limit is '0', not a whole number, 1 to 500"),
        ({"limit": "501"}, "limit is '501'"),
        ({"limit": "ten"}, "limit is 'ten'"),
        ({"after": "x"}, "after is 'x', not what `next` of a page was"),
        ({"since": "yesterday"}, "since is 'yesterday', neither a duration"),
        ({"task": ""}, "task must have 1 to 256 characters"),
        ({"tag": "x" * 257}, "tag must have 1 to 256 characters"),
        ({"sate": "open"}, "unknown parameter 'sate', did you mean 'state'?"),
        ({"tag": ["a", "b"]}, "tag is given twice"),
    ],
)
def test_a_filter_that_is_none_is_refused_by_name(
    listening: ListeningDaemon, parameters: dict[str, Any], details: str
) -> None:
    answer = listening.call("GET", "/v4/requests", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert details in answer.json()["details"]


def test_a_journal_that_cannot_be_read_is_503() -> None:
    def unreadable(query: ListQuery) -> list[Any]:
        assert query.limit == LIMIT
        raise JournalError("the journal cannot be read")

    with door() as served:
        served.pipeline.listing = unreadable
        answer = requests.get(f"{served.url}/v4/requests", timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
