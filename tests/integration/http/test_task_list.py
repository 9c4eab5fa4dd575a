"""`GET /v4/tasks`: the tasks that requests meant, with their last runs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

from butler_mqtt.errors import JournalError
from butler_mqtt.http.backend import TaskQuery
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.http.rest_listener import door


def tasks(listening: ListeningDaemon, **parameters: str) -> dict[str, Any]:
    answer = listening.call("GET", "/v4/tasks", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_pages_hold_each_task_of_a_tag_once_by_name(listening: ListeningDaemon) -> None:
    tag = str(uuid.uuid4())
    made = [listening.qlik.task(f"{letter} {tag}", tags=[tag]) for letter in "bac"]
    listening.post({"tag": tag, "wait": "finished"})
    listening.post({"taskId": made[0], "wait": "finished"})
    first = tasks(listening, tag=tag.upper(), limit="2")
    assert [one["taskId"] for one in first["tasks"]] == [made[1], made[0]]
    rest = tasks(listening, tag=tag, limit="2", after=first["next"])
    assert ([one["taskId"] for one in rest["tasks"]], rest["next"]) == ([made[2]], None)
    assert [len(one["lastRuns"]) for one in first["tasks"]] == [1, 2]
    assert first["tasks"][0]["lastResult"] == "succeeded"


def test_a_task_shows_why_its_last_run_failed(listening: ListeningDaemon) -> None:
    tag = str(uuid.uuid4())
    task = listening.qlik.task(tag, tags=[tag], result="fail")
    request_id = listening.post({"tag": tag, "wait": "finished"}).json()["requestId"]
    (found,) = tasks(listening, tag=tag)["tasks"]
    assert (found["taskId"], found["lastResult"], found["running"]) == (task, "failed", False)
    assert found["usualDurationMs"] is None
    assert found["lastRuns"][0]["requestId"] == request_id
    assert found["lastRuns"][0]["message"]


@pytest.mark.parametrize(
    ("parameters", "details"),
    [
        ({"limit": "0"}, "limit is '0', not a whole number, 1 to 500"),
        ({"after": "x"}, "after is 'x', not what `next` of a page was"),
        ({"tags": "x"}, "unknown parameter 'tags', did you mean 'tag'?"),
    ],
)
def test_a_parameter_that_is_none_is_refused_by_name(
    listening: ListeningDaemon, parameters: dict[str, str], details: str
) -> None:
    answer = listening.call("GET", "/v4/tasks", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert details in answer.json()["details"]


def test_a_journal_that_cannot_be_read_is_503() -> None:
    def unreadable(_query: TaskQuery) -> list[Any]:
        raise JournalError("the journal cannot be read")

    with door() as served:
        served.pipeline.tasks = unreadable
        answer = requests.get(f"{served.url}/v4/tasks", timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
