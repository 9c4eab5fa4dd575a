"""Chapters of the tour that are one request and one reply, and its allow-list, rule and sender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FINANCE = "a8b4c123-def4-5678-9abc-def012345678"
SALES = "b9c5d234-efe5-6789-abcd-ef0123456789"

#: What may be started from outside.
_ALLOW = {
    "tag": [
        *("financial-reports", "daily-reports", "daily-refresh", "data-refresh", "startTask1", "disabled"),
        *("nightly-extract", "nightly-transform", "nightly-publish"),
    ],
    "customProperty": [{"name": "taskGroup", "value": "operational-dashboards"}],
}
#: Each full thousand of a press starts its report once.
_RULE = {
    "name": "press-thousand",
    "topic": "plc/+/parts",
    "when": "payload >= 1000",
    "start": {"taskId": SALES, "requestId": "${{ levels[1] }}-${{ int(payload) / 1000 }}"},
}
#: Where the shop floor publishes, and what it may start.
SHOP_FLOOR = "qliksense/task/start/shop-floor"
_SENDER = {"name": "shop-floor", "topic": SHOP_FLOOR, "allowTask": {"tag": ["daily-refresh"]}}
#: Sections of the tour's configuration.
SECTIONS: Mapping[str, object] = {
    "startTaskFilter": {"enable": True, "allowTask": _ALLOW},
    "rules": [_RULE],
    "senders": [_SENDER],
}
#: Stages of the nightly chain.
NIGHTLY = tuple({"name": name, "tag": f"nightly-{name}"} for name in ("extract", "transform", "publish"))


@dataclass(frozen=True, slots=True)
class Chapter:
    """One request, the `tally.gist` that its reply must have, and what that shows."""

    title: str
    text: str
    request: Mapping[str, object]
    expected: Mapping[str, object]
    meaning: str


SELECTORS = (
    Chapter(
        "One task, by its id",
        "An ERP system has new figures and wants one report reloaded. It publishes a small JSON text.",
        {"requestId": "erp-1", "taskId": FINANCE},
        {"status": "ok", "started": ["Financial Dashboard Reload"]},
        "`started` is what the Qlik server reported: the execution id comes from there.",
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
        "Ids change when a task is created again; tags, given in the Qlik Management Console, do not.",
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
        "Another task has that name and that value, but in two different properties: it was not started.",
    ),
    Chapter(
        "Criteria combined",
        "A task that several criteria select is started once.",
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
        "The id and the property both select Financial Dashboard Reload: one execution.",
    ),
)

FAILURES = (
    Chapter(
        "A mistake in the request",
        "The second id is not one.",
        {"requestId": "erp-6", "taskId": [FINANCE, "abc"]},
        {"code": "invalid_task_id"},
        "Refused as a whole, with the exact place. Nothing was started.",
    ),
    Chapter(
        "A tag that does not exist",
        "One of the two tags is misspelt.",
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
        "The list is compared with the tasks that were resolved, however they were selected.",
    ),
    Chapter(
        "A disabled task",
        "The Qlik server accepts the start, answers 'created' and starts nothing.",
        {"requestId": "erp-9", "tag": "disabled"},
        {"status": "failed", "failed": ["Disabled Report: task_disabled"]},
        "The reply says that nothing runs, and why.",
    ),
)
