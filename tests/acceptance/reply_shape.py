"""The shape of a reply, written from the contract and not from the program."""

from __future__ import annotations

import re
from typing import Any

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EMPTY_GUID = "00000000-0000-0000-0000-000000000000"
CODES = frozenset(
    {
        *("invalid_json", "invalid_request", "invalid_task_id", "too_large", "not_supported", "expired"),
        *("cancelled", "request_id_conflict", "ambiguous_task_name", "all_must_exist", "all_denied"),
        *("too_many_tasks", "unauthorized", "rate_limited", "qrs_unavailable", "qrs_forbidden"),
        *("qrs_rejected", "task_disabled", "already_running", "app_missing", "not_started"),
        *("outcome_unknown", "previous_stage_failed", "internal_error"),
        *("unknown_request", "forbidden", "request_held", "not_stopped"),
    }
)
_STATUSES = {
    "tasksStarted": {"started"},
    "tasksWouldStart": {"wouldStart"},
    "tasksQueued": {"queued"},
    "tasksSkipped": {"alreadyRunning"},
    "tasksDenied": {"denied"},
    "tasksFailed": {"notStarted", "cancelled", "unknown"},
}
_OPTIONAL = {
    "tasksStarted": {"executionId", "adopted", "result", "durationMs", "node", "message", "stage"},
    "tasksQueued": {"reason", "behind", "place", "stage"},
    "tasksSkipped": {"executionId", "result", "runningTaskId", "stage"},
    "tasksFailed": {"code", "details", "stage"},
    "tasksDenied": {"stage"},
    "tasksWouldStart": {"stage"},
}


def check(answer: Any) -> None:
    """Fail unless *answer* has exactly the shape of a reply or of a refusal."""
    assert isinstance(answer, dict), answer
    assert isinstance(answer["requestId"], str), answer
    if "error" in answer:
        _check_refusal(answer)
    elif "cancelled" in answer:
        _check_cancel(answer)
    else:
        _check_decision(answer)


def _check_refusal(answer: dict[str, Any]) -> None:
    explained = answer["code"] in {"all_must_exist", "all_denied"}
    lists = {"tasksNotFound", "tasksDenied"} if explained else set()
    assert set(answer) == {"requestId", "error", "details", "code"} | lists, answer
    assert answer["code"] in CODES, answer
    assert answer["error"], answer
    assert answer["details"], answer


def _check_cancel(answer: dict[str, Any]) -> None:
    always = {"requestId", "status", "cancelled", "tasksCancelled"}
    none = {"tasksStarted": [], "tasksNotFound": [], "totalTasksStarted": 0}
    assert always <= set(answer), answer
    assert set(answer) <= always | {"tasksStopped", "tasksRunning"} | set(none), answer
    assert none.items() <= answer.items(), answer
    statuses = {
        "tasksCancelled": {"cancelled"},
        "tasksStopped": {"stopped"},
        "tasksRunning": {"running", "unknown"},
    }
    failed = False
    for name, allowed in statuses.items():
        for entry in answer.get(name, ()):
            assert {"taskId", "taskName", "status"} <= set(entry), entry
            assert entry["status"] in allowed, entry
            assert (name == "tasksCancelled") is ("executionId" not in entry) or "code" in entry, entry
            failed = failed or "code" in entry
    assert answer["status"] == ("partial" if failed else "ok"), answer


def _check_decision(answer: dict[str, Any]) -> None:
    always = {"requestId", "status", "tasksStarted", "tasksNotFound", "totalTasksStarted"}
    assert always <= set(answer), answer
    assert set(answer) <= always | set(_STATUSES) | {"outcome", "stages"}, answer
    _check_stages(answer)
    assert answer.get("outcome", "failed") in {"succeeded", "partial", "failed"}, answer
    assert answer["totalTasksStarted"] == len(answer["tasksStarted"]), answer
    for name, statuses in _STATUSES.items():
        # All but the three that are always there are left out when empty.
        assert name not in answer or answer[name] or name == "tasksStarted", answer
        for entry in answer.get(name, ()):
            _check_entry(name, entry, statuses)
    for entry in answer["tasksNotFound"]:
        assert len(entry) == 1, answer
        assert set(entry) <= {"taskId", "taskName", "tag", "customProperty"}, answer
    done = any(
        answer.get(name) for name in ("tasksStarted", "tasksWouldStart", "tasksQueued", "tasksSkipped")
    )
    wrong = answer["tasksNotFound"] or answer.get("tasksDenied") or answer.get("tasksFailed")
    assert answer["status"] == ("failed" if not done else "partial" if wrong else "ok"), answer


def _check_stages(answer: dict[str, Any]) -> None:
    stages = answer.get("stages", [])
    assert [one["stage"] for one in stages] == list(range(1, len(stages) + 1)), answer
    entries = [entry for name in _STATUSES for entry in answer.get(name, ())]
    assert all(("stage" in entry) == bool(stages) for entry in entries), answer
    run_in = [entry["stage"] for entry in entries if stages and entry["status"] != "denied"]
    for one in stages:
        assert set(one) <= {"stage", "name", "status", "tasks"}, answer
        assert one["status"] in {"waiting", "running", "succeeded", "failed", "notStarted"}, answer
        assert one["tasks"] == run_in.count(one["stage"]), answer


def _check_entry(name: str, entry: dict[str, Any], statuses: set[str]) -> None:
    assert {"taskId", "taskName", "status"} <= set(entry), entry
    assert set(entry) <= {"taskId", "taskName", "status"} | _OPTIONAL.get(name, set()), entry
    assert GUID.fullmatch(entry["taskId"]), entry
    assert entry["status"] in statuses, entry
    if name == "tasksFailed":
        assert entry["code"] in CODES, entry
        assert entry["details"], entry
    if entry.get("executionId") is not None:
        assert GUID.fullmatch(entry["executionId"]), entry
        assert entry["executionId"] != EMPTY_GUID, entry
