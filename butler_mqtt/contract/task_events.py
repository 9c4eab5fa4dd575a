"""Events about an execution or a waiting start, as JSON objects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from butler_mqtt.contract.timestamps import stamp
from butler_mqtt.domain.model import Execution, ExecutionStatus, Task
from butler_mqtt.domain.states import StartState

#: What the end of an execution means for its starts, and the event that reports it.
ENDS: dict[int, tuple[StartState, str]] = {
    ExecutionStatus.FINISHED_SUCCESS: (StartState.SUCCEEDED, "succeeded"),
    ExecutionStatus.FINISHED_FAIL: (StartState.FAILED, "failed"),
    ExecutionStatus.ERROR: (StartState.FAILED, "failed"),
    ExecutionStatus.RESET: (StartState.FAILED, "failed"),
    ExecutionStatus.ABORTED: (StartState.ABORTED, "aborted"),
    ExecutionStatus.SKIPPED: (StartState.SKIPPED_BY_QLIK, "skipped"),
}

#: Event of an active execution that has a result of an attempt before.
RETRYING = "retrying"
#: Event of an active execution's status; the other active ones have none.
PROGRESS: dict[int, str] = {
    ExecutionStatus.STARTED: "running",
    ExecutionStatus.DISTRIBUTION_RUNNING: "running",
    ExecutionStatus.RETRY: RETRYING,
}

_ABORT_REASONS = {1: "manual", 2: "timeout", 3: "task_deleted"}


def progress_of(execution: Execution) -> tuple[str, ...]:
    """
    Return the events that report how far an active *execution* has come.

    The status of a retry lasts until a node takes it, which a poll may miss;
    the result of the attempt before stays.
    """
    kind = PROGRESS.get(execution.status)
    kinds = [RETRYING] if execution.earlier_results else []
    return tuple(dict.fromkeys([*kinds, kind] if kind is not None else kinds))


def end_of(execution: Execution | None) -> tuple[StartState, str]:
    """Return what the end of *execution* means for its starts, and the event that reports it."""
    unknown = (StartState.UNKNOWN, "unknown")
    return unknown if execution is None else ENDS.get(execution.status, unknown)


def event(
    kind: str,
    task: Task,
    request_ids: Sequence[str],
    *,
    execution_id: str | None = None,
    **more: object,
) -> dict[str, object]:
    """
    Compose an event (docs/executions.md).

    `eventId` is the same whenever the same state of the same execution (or of
    the same waiting request) is published, so that a repetition can be recognised.

    Args:
        kind: Key `event`.
        task: The task it is about.
        request_ids: The requests it serves, at least one.
        execution_id: None where there is no execution.
        more: Further keys; those without a value are left out.
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
    """Return the keys of an event about an execution that ended; *abort_reason* as in `Execution`."""
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
