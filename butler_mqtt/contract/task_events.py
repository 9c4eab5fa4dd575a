"""What is told about an execution after the reply: events, as JSON objects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from butler_mqtt.domain.model import Execution, ExecutionStatus, Task
from butler_mqtt.domain.states import StartState

#: What the end of an execution means for its starts, and the event that tells it.
ENDS: dict[int, tuple[StartState, str]] = {
    ExecutionStatus.FINISHED_SUCCESS: (StartState.SUCCEEDED, "succeeded"),
    ExecutionStatus.FINISHED_FAIL: (StartState.FAILED, "failed"),
    ExecutionStatus.ERROR: (StartState.FAILED, "failed"),
    ExecutionStatus.RESET: (StartState.FAILED, "failed"),
    ExecutionStatus.ABORTED: (StartState.ABORTED, "aborted"),
    ExecutionStatus.SKIPPED: (StartState.SKIPPED_BY_QLIK, "skipped"),
}

#: What an active execution's status is told as; the other active ones are not told.
PROGRESS: dict[int, str] = {
    ExecutionStatus.STARTED: "running",
    ExecutionStatus.DISTRIBUTION_RUNNING: "running",
    ExecutionStatus.RETRY: "retrying",
}

_ABORT_REASONS = {1: "manual", 2: "timeout", 3: "task_deleted"}


def event(
    kind: str,
    task: Task,
    request_ids: Sequence[str],
    *,
    execution_id: str | None = None,
    **more: object,
) -> dict[str, object]:
    """
    Compose an event of design 4.3.

    `eventId` is the same whenever the same state of the same execution (or of
    the same waiting request) is told, so that a repetition can be recognised.
    """
    about = execution_id or f"{request_ids[0]}/{task.id}"
    return {
        "event": kind,
        "eventId": f"{about}/{kind}",
        "taskId": task.id,
        "taskName": task.name,
        "executionId": execution_id,
        "requestIds": list(request_ids),
        "time": stamp(datetime.now(UTC)),
        **{name: value for name, value in more.items() if value not in (None, "", [], ())},
    }


def outcome(execution: Execution | None, *, abort_reason: int = 0) -> dict[str, object]:
    """Give what an event tells about an execution that ended."""
    if execution is None:
        return {}
    return {
        "node": execution.node,
        "startedAt": stamp(execution.started),
        "stoppedAt": stamp(execution.stopped),
        "durationMs": execution.duration_ms,
        "message": execution.message,
        "details": list(execution.details),
        "reason": _ABORT_REASONS.get(abort_reason) if execution.status == ExecutionStatus.ABORTED else None,
    }


def stamp(moment: datetime | None) -> str | None:
    """Write a time as RFC 3339 in UTC with milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
