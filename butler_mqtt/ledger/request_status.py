"""The present state of a request, as `GET /v4/requests/{id}` tells it. Pure, but for the journal's rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from butler_mqtt.clock import from_ms
from butler_mqtt.contract import validation
from butler_mqtt.domain.model import Selector
from butler_mqtt.domain.states import RequestState, StartState
from butler_mqtt.journal.request_history import RequestRecord

_S = StartState
#: The list of the reply (design 4.2) in which a start stands, by its state; all others are in `tasksFailed`.
_LISTS: Mapping[str, str] = {
    _S.RUNNING: "tasksStarted",
    _S.SUCCEEDED: "tasksStarted",
    _S.FAILED: "tasksStarted",
    _S.ABORTED: "tasksStarted",
    _S.SKIPPED_BY_QLIK: "tasksStarted",
    _S.WOULD_START: "tasksWouldStart",
    _S.PLANNED: "tasksPending",
    _S.WAITING: "tasksQueued",
    _S.SKIPPED: "tasksSkipped",
    _S.DENIED: "tasksDenied",
}
_ORDER = (
    "tasksStarted",
    "tasksWouldStart",
    "tasksPending",
    "tasksQueued",
    "tasksSkipped",
    "tasksDenied",
    "tasksFailed",
)
_STATUS: Mapping[str, str] = {
    "tasksStarted": "started",
    "tasksWouldStart": "wouldStart",
    "tasksPending": "pending",
    "tasksQueued": "queued",
    "tasksSkipped": "alreadyRunning",
    "tasksDenied": "denied",
}
#: Columns of a start and its run that are told when they hold something, by their key.
_REPORTED: Mapping[str, str] = {
    "executionId": "execution_id",
    "code": "code",
    "details": "details",
    "reason": "reason",
    "behind": "behind",
    "result": "result",
    "durationMs": "duration_ms",
    "node": "node",
    "message": "message",
}
_OPEN = frozenset({RequestState.RECEIVED, RequestState.DECIDED})


def state(record: RequestRecord) -> dict[str, object]:
    """
    Tell where a request is.

    Returns:
        The reply of design 4.2 as it would be now, and with it `state` (of
        `RequestState`), the times of the request, its deliveries, and for each
        start its own `state` and the `selectors` that matched it. `status` is
        `pending` until everything is decided, `finished` true when no execution
        goes on or is still to come.
    """
    row = record.request
    lists = _lists(record)
    missing = json.loads(row["not_found"]) if row["not_found"] else []
    answer: dict[str, object] = {"requestId": row["request_id"]}
    if row["state"] == RequestState.REFUSED and row["reply"]:
        # An error as it was told, with the lists it came with.
        answer |= json.loads(row["reply"])
        missing = answer.get("tasksNotFound", missing)
    answer["status"] = _status(row, lists, missing)
    answer |= {name: lists[name] for name in _ORDER if name in lists}
    answer |= {"tasksNotFound": missing, "totalTasksStarted": len(lists["tasksStarted"])}
    answer |= {
        "state": row["state"],
        "finished": row["state"] not in _OPEN and not any(_goes_on(start) for start in record.starts),
        "door": row["door"],
        "sender": row["sender"],
        "receivedAt": _time(row["received_at"]),
        "expiresAt": _time(row["expires_at"]),
        "decidedAt": _time(row["decided_at"]),
        "closedAt": _time(row["closed_at"]),
        "deliveries": [
            {
                "door": delivery["door"],
                "principal": delivery["principal"],
                "receivedAt": _time(delivery["received_at"]),
                "answeredAt": _time(delivery["answered_at"]),
            }
            for delivery in record.deliveries
        ],
    }
    return answer


def _goes_on(start: Mapping[str, Any]) -> bool:
    """Tell whether an execution runs or may still come; one without an id is not followed."""
    if start["state"] == StartState.RUNNING:
        return start["execution_id"] is not None
    return start["state"] in {StartState.PLANNED, StartState.WAITING}


def _lists(record: RequestRecord) -> dict[str, list[dict[str, object]]]:
    document = record.request["document"]
    selectors = validation.reread(document).selectors if document else ()
    lists: dict[str, list[dict[str, object]]] = {"tasksStarted": []}
    for start in record.starts:
        name = _LISTS.get(start["state"], "tasksFailed")
        lists.setdefault(name, []).append(_entry(start, name, selectors))
    return lists


def _entry(start: Mapping[str, Any], name: str, selectors: tuple[Selector, ...]) -> dict[str, object]:
    failed = "unknown" if start["state"] == StartState.UNKNOWN else "notStarted"
    entry: dict[str, object] = {
        "taskId": start["task_id"],
        "taskName": start["task_name"],
        "status": _STATUS.get(name, failed),
        "state": start["state"],
    }
    entry |= {key: start[column] for key, column in _REPORTED.items() if start.get(column) is not None}
    entry |= {
        key: _time(start[column])
        for key, column in (("startedAt", "started_at"), ("stoppedAt", "stopped_at"))
        if start[column] is not None
    }
    if start["adopted"]:
        entry["adopted"] = True
    entry["selectors"] = [one.as_json() for one in _matched(start["kinds"], selectors)]
    return entry


def _matched(kinds: str, selectors: tuple[Selector, ...]) -> list[Selector]:
    """Give the selectors that *kinds*, `kind:position` separated by commas, stand for."""
    matched = []
    for one in filter(None, kinds.split(",")):
        kind, _, position = one.partition(":")
        if position:
            matched.append(selectors[int(position)])
        else:
            matched += [selector for selector in selectors if selector.kind == kind]
    return matched


def _status(row: Mapping[str, Any], lists: Mapping[str, object], missing: object) -> str:
    if row["state"] in _OPEN:
        return "pending"
    if row["state"] == RequestState.REFUSED:
        return "failed"
    done = any(lists.get(name) for name in _ORDER[:5])
    wrong = bool(missing or lists.get("tasksDenied") or lists.get("tasksFailed"))
    return "failed" if not done else "partial" if wrong else "ok"


def _time(moment: int | None) -> str | None:
    found = from_ms(moment)
    return None if found is None else found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
