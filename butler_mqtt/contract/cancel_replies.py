"""The reply to a cancel, as a JSON object (docs/replies.md). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.errors import RequestError


@dataclass(frozen=True, slots=True)
class GoesOn:
    """
    A start of the cancelled request that begun and goes on.

    `shared_with` are the other requests that its execution serves, as far as they are
    named to who cancels, None where there are none. `why_not` is the code and details of
    why it was not stopped, or may run or not.
    """

    start: OpenStart
    shared_with: Sequence[str] | None
    why_not: tuple[str, str] | None = None


def unknown(wanted: str) -> RequestError:
    """Return the refusal of a cancel of a request that nobody knows."""
    details = f"no request '{wanted}' is known; it may be older than retentionDays"
    return RequestError("unknown_request", "Unknown request", details)


def of_a_cancel(wanted: str) -> RequestError:
    """Return the refusal of a cancel of a cancel."""
    details = f"request '{wanted}' is a cancel itself, which cannot be taken back"
    return RequestError("invalid_request", "Invalid request", details)


def held(wanted: str) -> RequestError:
    """Return the refusal of a cancel of a request that is held since a backup was restored."""
    details = (
        f"request '{wanted}' is held since a backup was restored: an operator lets it go on or "
        "discards it with butler-mqtt requests resume"
    )
    return RequestError("request_held", "Request held", details)


def stopping_forbidden() -> RequestError:
    """Return the refusal of `stopRunning` where the configuration does not allow it."""
    details = "stopRunning needs startTask.allowStop: true; nothing was cancelled"
    return RequestError("forbidden", "Stopping is not allowed", details)


def reply(
    opened: OpenRequest,
    cancelled: Sequence[OpenStart],
    stopped: Sequence[OpenStart],
    running: Sequence[GoesOn],
) -> dict[str, object]:
    """
    Compose the reply to the cancel *opened*.

    Args:
        opened: The cancel.
        cancelled: Starts of the other request that will not begin.
        stopped: Those whose executions Qlik Sense was asked to stop.
        running: Those whose executions go on.
    """
    answer: dict[str, object] = {
        "requestId": opened.request_id,
        **({} if opened.rule is None else {"rule": opened.rule}),
        "status": "partial" if any(one.why_not for one in running) else "ok",
        "cancelled": opened.request.cancel,
        "tasksCancelled": [_entry(start, "cancelled") for start in cancelled],
    }
    if stopped:
        answer["tasksStopped"] = [_entry(start, "stopped") for start in stopped]
    if running:
        answer["tasksRunning"] = [_running(one) for one in running]
    return answer | {"tasksStarted": [], "tasksNotFound": [], "totalTasksStarted": 0}


def _entry(start: OpenStart, status: str) -> dict[str, object]:
    entry: dict[str, object] = {
        "taskId": start.task.id,
        "taskName": start.task.name,
        "status": status,
    }
    if start.execution_id is not None:
        entry["executionId"] = start.execution_id
    return entry


def _running(one: GoesOn) -> dict[str, object]:
    entry = _entry(one.start, "unknown" if one.start.state is StartState.UNKNOWN else "running")
    if one.start.adopted:
        entry["adopted"] = True
    if one.start.adopted or one.shared_with is not None:
        entry["sharedWith"] = list(one.shared_with or ())
    if one.why_not is not None:
        entry["code"], entry["details"] = one.why_not
    return entry
