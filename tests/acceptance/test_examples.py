"""The examples of the description, over MQTT: each payload as it stands there, and the reply to it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Qlik
from tests.acceptance.sender import REPLY

DASHBOARD = "a8b4c123-def4-5678-9abc-def012345678"
SALES = "b9c5d234-efe5-6789-abcd-ef0123456789"
FINANCE = "c0d6e345-f0f6-789a-bcde-f01234567890"
REFRESH = "d1e7f456-01a7-89ab-cdef-012345678901"

SITE: list[dict[str, object]] = [
    {
        "id": DASHBOARD,
        "name": "Financial Dashboard Reload",
        "tags": ["financial-reports", "daily-reports"],
        "customProperties": {"taskGroup": ["operational-dashboards", "financial-reports"]},
    },
    {
        "id": SALES,
        "name": "Sales Report Update",
        "tags": ["daily-refresh", "urgent"],
        "customProperties": {"priority": "high"},
    },
    {
        "id": FINANCE,
        "name": "Ledger",
        "tags": ["urgent"],
        "customProperties": {"department": "finance", "source": "erp-system"},
    },
    {"id": REFRESH, "name": "Refresh", "tags": ["data-refresh"]},
]

EXAMPLES: dict[str, tuple[str, list[str]]] = {
    "several ids": (f'{{"taskId": ["{DASHBOARD}", "{SALES}"]}}', [DASHBOARD, SALES]),
    "several tags": ('{"tag": ["financial-reports", "daily-refresh"]}', [DASHBOARD, SALES]),
    "custom properties": (
        """{"customProperty": [{"name": "taskGroup", "value": "operational-dashboards"},
            {"name": "priority", "value": "high"}]}""",
        [DASHBOARD, SALES],
    ),
    "combined criteria": (
        f"""{{"taskId": ["{DASHBOARD}"], "tag": ["urgent"],
            "customProperty": [{{"name": "department", "value": "finance"}}]}}""",
        [DASHBOARD, SALES, FINANCE],
    ),
    "webhook": (
        '{"tag": ["data-refresh"], "customProperty": [{"name": "source", "value": "erp-system"}]}',
        [REFRESH, FINANCE],
    ),
    "mqtt": ('{ "tag": ["daily-reports"] }', [DASHBOARD]),
    "one group": (
        '{"customProperty": {"name": "taskGroup", "value": "financial-reports"}}',
        [DASHBOARD],
    ),
    "bare id": (DASHBOARD, [DASHBOARD]),
    "bare id among white space": (f"  \r\n{DASHBOARD.upper()}\t\n", [DASHBOARD]),
    "one id": (f'{{"taskId": "{SALES.upper()}"}}', [SALES]),
    "byte order mark": ('\ufeff{"tag": "data-refresh"}', [REFRESH]),
}


@pytest.fixture
def site(qlik: Qlik) -> Iterator[Qlik]:
    for one in qlik.admin("GET", "/tasks"):
        # What other tests left there may have the same tags.
        tags = {tag["name"] for tag in one["tags"]}
        if "daily-reports" in tags and one["id"] not in {task["id"] for task in SITE}:
            qlik.admin("DELETE", f"/tasks/{one['id']}")
    for task in SITE:
        qlik.admin("PUT", f"/tasks/{task['id']}", {**task, "durationSeconds": 0.01})
    yield qlik
    for task in SITE:
        qlik.until_idle(str(task["id"]))
        qlik.admin("DELETE", f"/tasks/{task['id']}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_starts_its_tasks_and_is_answered_in_the_shape_of_the_contract(
    name: str, every_way: Place, site: Qlik
) -> None:
    payload, expected = EXAMPLES[name]
    before = {task: site.executions(task) for task in expected}
    total = site.total()
    replies = len(every_way.sender.heard(REPLY))

    every_way.sender.publish(payload.encode())
    got = every_way.sender.wait_for(replies + 1, lambda got: got.topic == REPLY)[-1]

    names = {str(task["id"]): task["name"] for task in SITE}
    answer = got.json
    assert answer == {
        "requestId": answer["requestId"],
        "status": "ok",
        "tasksStarted": [
            {
                "taskId": task,
                "taskName": names[task],
                "status": "started",
                "executionId": site.execution_ids(task)[-1],
            }
            for task in [entry["taskId"] for entry in answer["tasksStarted"]]
        ],
        "tasksNotFound": [],
        "totalTasksStarted": len(expected),
    }
    assert {entry["taskId"] for entry in answer["tasksStarted"]} == set(expected)
    assert {task: site.executions(task) - before[task] for task in expected} == dict.fromkeys(expected, 1)
    assert site.total() - total == len(expected)
    assert (got.qos, got.retain) == (1, False)


def test_the_error_of_the_description_is_answered_to_a_malformed_id(every_way: Place) -> None:
    answer = every_way.sender.ask({"taskId": [DASHBOARD, "abc"], "requestId": "e-1"})
    assert answer == {
        "requestId": "e-1",
        "error": "Invalid task ID format",
        "details": "Task ID must be a valid GUID: taskId[1] is 'abc'",
        "code": "invalid_task_id",
    }


def test_what_means_no_task_is_named_in_the_order_asked(every_way: Place, site: Qlik) -> None:
    nobody = "99999999-9999-4999-8999-999999999999"
    answer = every_way.sender.ask(
        {
            "taskId": [nobody, SALES],
            "tag": ["nobody-has-it"],
            "customProperty": [{"name": "priority", "value": "low"}],
        }
    )
    assert answer["status"] == "partial"
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [SALES]
    assert answer["tasksNotFound"] == [
        {"taskId": nobody},
        {"tag": "nobody-has-it"},
        {"customProperty": {"name": "priority", "value": "low"}},
    ]


def test_a_reply_to_a_request_that_means_nothing_says_failed(every_way: Place) -> None:
    answer = every_way.sender.ask({"requestId": "nothing-1", "tag": "nobody-has-it"})
    assert answer == {
        "requestId": "nothing-1",
        "status": "failed",
        "tasksStarted": [],
        "tasksNotFound": [{"tag": "nobody-has-it"}],
        "totalTasksStarted": 0,
    }


def test_a_reply_is_one_line_of_json_in_utf_8(every_way: Place, qlik: Qlik) -> None:
    task = qlik.task("Umsätze \u2013 日次 ✓")
    topic = every_way.sender.send({"taskId": task})
    payload = every_way.sender.wait(lambda got: got.topic == topic).payload
    assert b"\n" not in payload
    assert json.loads(payload.decode())["tasksStarted"][0]["taskName"] == "Umsätze \u2013 日次 ✓"
