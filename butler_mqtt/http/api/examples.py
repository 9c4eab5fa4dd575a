"""The examples of the API's description: every kind of body and of answer; a test posts each of them."""

from __future__ import annotations

from typing import Any

TASK = "a8b4c123-def4-5678-9abc-def012345678"
OTHER_TASK = "b9c5d234-efe5-6789-abcd-ef0123456789"
EXECUTION = "5d1f9a70-2f6e-4c0b-9c1e-0b7f3f5b9d11"

#: Bodies that go to `/v4/reloadtask/start` and `/v4/reloadtask/-/start`, by name: summary and value.
BODIES: dict[str, tuple[str, Any]] = {
    "tasks-by-id": ("Several tasks by id", {"taskId": [TASK, OTHER_TASK]}),
    "task-by-name": ("A task by its whole name", {"taskName": "Sales Report Update"}),
    "tasks-by-tag": ("Tasks with any of two tags", {"tag": ["financial-reports", "daily-refresh"]}),
    "tasks-by-custom-property": (
        "Tasks with any of two custom property values",
        {
            "customProperty": [
                {"name": "taskGroup", "value": "operational-dashboards"},
                {"name": "priority", "value": "high"},
            ]
        },
    ),
    "combined": (
        "Everything that one of several criteria names",
        {
            "taskId": [TASK],
            "tag": ["urgent"],
            "customProperty": [{"name": "department", "value": "finance"}],
        },
    ),
    "webhook": (
        "From an ERP system",
        {"tag": ["data-refresh"], "customProperty": [{"name": "source", "value": "erp-system"}]},
    ),
    "rehearsal": (
        "Only tasks with the tag and the property value, and only as a rehearsal",
        {
            "sender": "ERP, nightly closing",
            "tag": "finance",
            "customProperty": {"name": "department", "value": "finance"},
            "match": {"criteria": "all"},
            "dryRun": True,
        },
    ),
    "all-or-nothing": (
        "Nothing is started unless every task exists and may be started",
        {"taskId": [TASK, OTHER_TASK], "allMustExist": True, "ifRunning": "skip"},
    ),
    "butler": (
        "Butler's array: the answer is Butler's too",
        [
            {"type": "starttaskid", "payload": {"taskId": TASK}},
            {"type": "starttasktag", "payload": {"tag": "startTask1"}},
            {
                "type": "starttaskcustomproperty",
                "payload": {"customPropertyName": "taskGroup", "customPropertyValue": "financial-reports"},
            },
            {
                "type": "keyvaluestore",
                "payload": {"namespace": "MyFineNamespace", "key": "AnImportantKey", "value": "TheValue"},
            },
        ],
    ),
    "butler-nothing": ("Butler's array, empty", []),
}

#: Bodies that go with a task id in the path.
PATH_BODIES: dict[str, tuple[str, Any]] = {
    "path-id-alone": ("The task of the path", {}),
    "path-id-and-more": ("The task of the path and another", {"taskId": OTHER_TASK}),
    "butler-array": (
        "Butler's array beside the path",
        [{"type": "starttaskid", "payload": {"taskId": OTHER_TASK}}],
    ),
}

_STARTED = {"taskId": TASK, "taskName": "Financial Dashboard Reload", "status": "started"}
_NAMED = {"taskId": TASK, "taskName": "Financial Dashboard Reload"}

#: Answers with status 200, by name.
REPLIES: dict[str, tuple[str, Any]] = {
    "started": (
        "Everything was started",
        {
            "requestId": "erp-4711",
            "status": "ok",
            "tasksStarted": [{**_STARTED, "executionId": EXECUTION}],
            "tasksNotFound": [],
            "totalTasksStarted": 1,
        },
    ),
    "partial": (
        "One was started, one waits, some could not be",
        {
            "requestId": "erp-4712",
            "status": "partial",
            "tasksStarted": [{**_STARTED, "executionId": EXECUTION}],
            "tasksQueued": [
                {
                    "taskId": OTHER_TASK,
                    "taskName": "Sales Report Update",
                    "status": "queued",
                    "reason": "running",
                    "behind": "0f8c1d7e-7a52-4b0e-8f66-6d9a3c2b1e55",
                }
            ],
            "tasksFailed": [
                {
                    "taskId": "d15ab1ed-0000-4000-8000-000000000001",
                    "taskName": "Disabled Report",
                    "status": "notStarted",
                    "code": "task_disabled",
                    "details": "the task is disabled",
                }
            ],
            "tasksNotFound": [{"tag": "no-such-tag"}],
            "totalTasksStarted": 1,
        },
    ),
    "butler": (
        "The answer to Butler's array",
        {
            "tasksId": {
                "started": [_NAMED],
                "invalid": [{"taskId": "abc"}],
                "denied": [{"taskId": OTHER_TASK}],
            },
            "tasksTag": [_NAMED],
            "tasksTagDenied": [{"tag": "startTask_invalid1"}],
            "tasksCP": [_NAMED],
            "tasksCPDenied": [{"name": "taskGroup", "value": "cp_value_denied1"}],
        },
    ),
}

ACCEPTED = {"requestId": "erp-4711", "status": "accepted"}

STATE = {
    "requestId": "erp-4711",
    "status": "ok",
    "tasksStarted": [
        {
            **_STARTED,
            "state": "succeeded",
            "executionId": EXECUTION,
            "result": "succeeded",
            "durationMs": 41250,
            "node": "sense1.lab.local",
            "startedAt": "2031-01-31T08:00:01.140Z",
            "stoppedAt": "2031-01-31T08:00:42.390Z",
            "selectors": [{"taskId": TASK}],
        }
    ],
    "tasksNotFound": [],
    "totalTasksStarted": 1,
    "state": "closed",
    "finished": True,
    "door": "rest",
    "sender": None,
    "receivedAt": "2031-01-31T08:00:00.912Z",
    "expiresAt": None,
    "decidedAt": "2031-01-31T08:00:00.969Z",
    "closedAt": "2031-01-31T08:00:01.183Z",
    "deliveries": [
        {
            "door": "rest",
            "principal": "erp",
            "receivedAt": "2031-01-31T08:00:00.912Z",
            "answeredAt": "2031-01-31T08:00:01.183Z",
        }
    ],
}

HEALTHY = {"status": "ok", "checks": {"threads": "ok", "journal": "ok", "subscription": "ok"}}
UNWELL = {"status": "failed", "checks": {"threads": "ok", "journal": "ok", "subscription": "refused"}}


def _refusal(error: str, details: str, code: str, **lists: object) -> dict[str, object]:
    return {"requestId": "erp-4713", "error": error, "details": details, "code": code, **lists}


#: Refusals by status: what it means, and one example for each code that has it.
FORBIDDEN: dict[str, object] = {
    "error": "Request from another site",
    "details": "Origin is 'https://portal.example.com'; what a browser sends for a page of another site is "
    "taken with a bearer token only",
    "code": "forbidden",
}

REFUSALS: dict[int, tuple[str, dict[str, dict[str, object]]]] = {
    400: (
        "The request is at fault, or nothing could be begun for a reason that `code` names",
        {
            "invalid_task_id": _refusal(
                "Invalid task ID format",
                "Task ID must be a valid GUID: taskId[1] is 'abc'",
                "invalid_task_id",
            ),
            "invalid_request": _refusal(
                "Invalid request", "unknown key 'tags', did you mean 'tag'?", "invalid_request"
            ),
            "invalid_json": _refusal(
                "Invalid JSON", "line 1, column 27: the key 'tag' occurs twice", "invalid_json"
            ),
            "ambiguous_task_name": _refusal(
                "Ambiguous task name",
                f"2 tasks are named 'Twice': {TASK}, {OTHER_TASK}; use taskId or a tag",
                "ambiguous_task_name",
            ),
        },
    ),
    401: (
        "No token, or one that is not known",
        {
            "unauthorized": {
                "error": "Unauthorized",
                "details": "send the header 'Authorization: Bearer <token>'",
                "code": "unauthorized",
            }
        },
    ),
    403: (
        "The allow-list allows none of the tasks, or a page in a browser may have sent it",
        {
            "forbidden": FORBIDDEN,
            "all_denied": _refusal(
                "No matching task may be started",
                f"startTaskFilter.allowTask allows none of the matching tasks: Sales ({OTHER_TASK})",
                "all_denied",
                tasksNotFound=[],
                tasksDenied=[{"taskId": OTHER_TASK, "taskName": "Sales", "status": "denied"}],
            ),
        },
    ),
    404: (
        "Not everything that must exist does",
        {
            "all_must_exist": _refusal(
                "Not all tasks can be started",
                "allMustExist is set: 1 of the selectors match no task, 0 of the matched tasks may not be "
                "started",
                "all_must_exist",
                tasksNotFound=[{"taskId": OTHER_TASK}],
                tasksDenied=[],
            )
        },
    ),
    409: (
        "The id was used for a different request",
        {
            "request_id_conflict": _refusal(
                "Request id already used",
                "requestId 'erp-4713' was used for a different request; use a new one",
                "request_id_conflict",
            )
        },
    ),
    410: (
        "Too late",
        {"expired": _refusal("Request expired", "expiresAt had passed when the request arrived", "expired")},
    ),
    413: (
        "The body is too large",
        {
            "too_large": _refusal(
                "Request too large", "the body has 10485760 bytes, 262144 are allowed", "too_large"
            )
        },
    ),
    429: (
        "Too many requests of one caller; `Retry-After` tells when to go on",
        {
            "rate_limited": _refusal(
                "Too many requests", "more than 1000 requests a second; try again later", "rate_limited"
            )
        },
    ),
    500: (
        "A fault of the daemon",
        {
            "internal_error": _refusal(
                "Internal error", "the request could not be processed; see the log", "internal_error"
            )
        },
    ),
    502: (
        "Qlik Sense said no",
        {
            "qrs_forbidden": _refusal(
                "Qlik Sense refuses us",
                "GET /qrs/task/full: 403; check the rights of the user",
                "qrs_forbidden",
            )
        },
    ),
    503: (
        "Nothing was started; `Retry-After` tells when to try again",
        {
            "qrs_unavailable": _refusal(
                "Qlik Sense cannot be reached",
                "sense.example.com:4242: connection refused",
                "qrs_unavailable",
            ),
            "not_recorded": _refusal(
                "Request cannot be recorded", "the disk is nearly full; nothing was started", "not_recorded"
            ),
        },
    ),
}
