"""The chapters that are one request and one reply, and what may be started in the tour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FINANCE = "a8b4c123-def4-5678-9abc-def012345678"
SALES = "b9c5d234-efe5-6789-abcd-ef0123456789"

#: The section `startTaskFilter.allowTask` of the tour.
ALLOW: dict[str, object] = {
    "tag": ["financial-reports", "daily-reports", "daily-refresh", "data-refresh", "startTask1", "disabled"],
    "customProperty": [{"name": "taskGroup", "value": "operational-dashboards"}],
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """One request, the `account.gist` that its reply must have, and what that means."""

    title: str
    text: str
    request: Mapping[str, object]
    expected: Mapping[str, object]
    meaning: str


WAYS = (
    Chapter(
        "One task, by its id",
        "An ERP system has new figures and wants one report reloaded. It publishes a small JSON text.",
        {"requestId": "erp-1", "taskId": FINANCE},
        {"status": "ok", "started": ["Financial Dashboard Reload"]},
        "`started` is the Qlik server's own word: the execution id comes from there.",
    ),
    Chapter(
        "Several ids at once",
        "A request may name many tasks.",
        {"requestId": "erp-2", "taskId": [FINANCE, SALES]},
        {"status": "ok", "started": ["Financial Dashboard Reload", "Sales Report Update"]},
        "Two tasks, two executions, one reply.",
    ),
    Chapter(
        "By tag",
        "Ids change when a task is made anew; tags, given in the Qlik Management Console, do not.",
        {"requestId": "erp-3", "tag": ["daily-reports"]},
        {"status": "ok", "started": ["Daily Reports Finance", "Daily Reports Sales"]},
        "Both tasks with the tag run.",
    ),
    Chapter(
        "By custom property",
        "A property has a name and a value; both must be on the same task, in the same property.",
        {
            "requestId": "erp-4",
            "customProperty": [{"name": "taskGroup", "value": "operational-dashboards"}],
        },
        {"status": "ok", "started": ["Operations Dashboard", "Plant Dashboard"]},
        "Another task has that name and that value, but in two different properties: it was left alone.",
    ),
    Chapter(
        "Criteria combined",
        "What several criteria name is started once, however many of them fit.",
        {
            "requestId": "erp-5",
            "taskId": [FINANCE],
            "tag": ["urgent"],
            "customProperty": [{"name": "department", "value": "finance"}],
        },
        {
            "status": "ok",
            "started": ["Daily Reports Finance", "Financial Dashboard Reload", "Regulatory Report"],
        },
        "The id and the property both mean Financial Dashboard Reload: one execution.",
    ),
)

TROUBLES = (
    Chapter(
        "A mistake in the request",
        "The second id is not one.",
        {"requestId": "erp-6", "taskId": [FINANCE, "abc"]},
        {"code": "invalid_task_id"},
        "Refused as a whole, with the exact place. Nothing was started.",
    ),
    Chapter(
        "A tag that nobody has",
        "One of the two tags does not exist.",
        {"requestId": "erp-7", "tag": ["data-refresh", "data-refesh"]},
        {"status": "partial", "started": ["ERP Extract", "Hourly Reload"], "notFound": ["data-refesh"]},
        "The rest is started; `allMustExist: true` would have started nothing.",
    ),
    Chapter(
        "Not allowed",
        "The administrator keeps a list of what may be started from outside. "
        "Three of the four tasks with this tag are on it.",
        {"requestId": "erp-8", "tag": "Butler 5.0 demo"},
        {
            "status": "partial",
            "started": ["Butler Demo 1", "Butler Demo 2", "Butler Demo 3"],
            "denied": ["Butler Demo 4"],
        },
        "The list is held against the tasks that were found, whichever way they were named.",
    ),
    Chapter(
        "A disabled task",
        "The Qlik server takes the order, says 'created' and starts nothing.",
        {"requestId": "erp-9", "tag": "disabled"},
        {"status": "failed", "failed": ["Disabled Report: task_disabled"]},
        "The sender learns that nothing runs, and why.",
    ),
)
