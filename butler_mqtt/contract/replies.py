"""The reply to a request, as JSON objects: what it says about each start and as a whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from butler_mqtt.contract import stage_summary
from butler_mqtt.domain.decisions import RefusedDecision
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import RequestState, StartState
from butler_mqtt.errors import RequestError

_S = StartState
#: List of the reply and `status` in it, by the state of a start; all other states are in `tasksFailed`. A
#: reply has no planned start; `GET /v4/requests/{id}` may.
_PLACES: Mapping[str, tuple[str, str]] = {
    _S.RUNNING: ("tasksStarted", "started"),
    _S.SUCCEEDED: ("tasksStarted", "started"),
    _S.FAILED: ("tasksStarted", "started"),
    _S.ABORTED: ("tasksStarted", "started"),
    _S.SKIPPED_BY_QLIK: ("tasksStarted", "started"),
    _S.WOULD_START: ("tasksWouldStart", "wouldStart"),
    _S.PLANNED: ("tasksPending", "pending"),
    _S.WAITING: ("tasksQueued", "queued"),
    _S.SKIPPED: ("tasksSkipped", "alreadyRunning"),
    _S.DENIED: ("tasksDenied", "denied"),
    _S.UNKNOWN: ("tasksFailed", "unknown"),
    _S.CANCELLED: ("tasksFailed", "cancelled"),
}
_ELSEWHERE = ("tasksFailed", "notStarted")
#: Lists of starts that were carried out, or will be, as asked.
_DONE = ("tasksStarted", "tasksWouldStart", "tasksPending", "tasksQueued", "tasksSkipped")
#: All lists of starts, in the order of the reply.
_ORDER = (*_DONE, "tasksDenied", "tasksFailed")

#: States of a start in which what was asked for is done; so is one that runs and cannot be tracked.
_SUCCEEDED = frozenset({_S.SUCCEEDED, _S.SKIPPED, _S.WOULD_START})

#: States of a start of which nothing began.
_NEVER_BEGAN = frozenset({_S.CANCELLED, _S.DENIED, _S.SKIPPED, _S.NOT_STARTED, _S.EXPIRED})

#: A request all of whose starts ended with one of these is refused as a whole.
_WHOLE = {
    "expired": "Request expired",
    "qrs_unavailable": "Qlik Sense cannot be reached",
    "cancelled": "Request cancelled",
}

#: States of requests that have no reply yet.
OPEN = frozenset({RequestState.RECEIVED, RequestState.DECIDED})

Lists = dict[str, list[dict[str, object]]]


def place(state: str) -> tuple[str, str]:
    """Return the list of the reply in which a start in this state is, and its `status` in it."""
    return _PLACES.get(state, _ELSEWHERE)


def in_order(lists: Lists, missing: object) -> dict[str, object]:
    """Return the *lists* of starts that are not empty, `tasksNotFound` (*missing*), and the total."""
    return {
        **{name: lists[name] for name in _ORDER if name in lists},
        "tasksNotFound": missing,
        "totalTasksStarted": len(lists["tasksStarted"]),
    }


def status(lists: Lists, missing: object) -> str:
    """Return the `status` of a decided request: `ok`, `partial` or `failed`."""
    done = any(lists.get(name) for name in _DONE)
    wrong = bool(missing or lists.get("tasksDenied") or lists.get("tasksFailed"))
    return "failed" if not done else "partial" if wrong else "ok"


def outcome(starts: Iterable[tuple[str, str | None, str | None]], missing: object) -> str:
    """
    Return what became of the executions of a request: `succeeded`, `failed` or `partial`.

    Args:
        starts: State and execution id of each start, and how that ended which its stage skipped it for.
        missing: What the request names and no task fits.
    """
    good = [
        (state in _SUCCEEDED and skipped in {None, _S.SUCCEEDED})
        or (state == StartState.RUNNING and execution_id is None)
        for state, execution_id, skipped in starts
    ]
    if not any(good):
        return "failed"
    return "succeeded" if all(good) and not missing else "partial"


def goes_on(state: str, execution_id: str | None) -> bool:
    """Return whether an execution may still begin or end; one without an id cannot be tracked."""
    if state == StartState.RUNNING:
        return execution_id is not None
    return state in {StartState.PLANNED, StartState.WAITING}


def whole_refusal(opened: OpenRequest) -> RequestError | None:
    """Return the refusal of a request for which nothing was begun, for one common reason; else None."""
    if cancelled := taken_back(opened):
        return cancelled
    if opened.staged is not None and not opened.staged.over:
        # A later stage may still start something.
        return None
    # What was not started because of that is no reason of its own.
    codes = {start.code for start in opened.starts} - {"previous_stage_failed"}
    if len(codes) != 1 or opened.not_found:
        return None
    code = codes.pop()
    if code not in _WHOLE:
        return None
    return RequestError(code, _WHOLE[code], opened.starts[0].details or _WHOLE[code])


def taken_back(opened: OpenRequest) -> RequestError | None:
    """Return the refusal of a request that was cancelled before anything of it began; else None."""
    cancelled = [start for start in opened.starts if start.state is _S.CANCELLED]
    if not cancelled or any(start.state not in _NEVER_BEGAN for start in opened.starts):
        return None
    return RequestError("cancelled", _WHOLE["cancelled"], cancelled[0].details or _WHOLE["cancelled"])


def reply(opened: OpenRequest, *, at_the_end: bool = False) -> dict[str, object]:
    """
    Compose the reply to a decided request (docs/replies.md) from the present states of its starts.

    That *at_the_end*, for those who wait until the executions have ended, also has `outcome`.
    """
    lists: Lists = {"tasksStarted": []}
    missing = list(opened.not_found)
    for start in opened.starts:
        if start.code == "task_not_found":
            entry = {"taskId": start.task.id}
            missing += [] if entry in missing else [entry]
        else:
            lists.setdefault(place(start.state)[0], []).append(_entry(start))
    answer: dict[str, object] = {"requestId": opened.request_id}
    if opened.rule is not None:
        answer["rule"] = opened.rule
    answer["status"] = status(lists, missing)
    if at_the_end:
        states = ((one.state, one.execution_id, one.skipped_result) for one in opened.starts)
        answer["outcome"] = outcome(states, missing)
    if opened.staged is not None:
        answer["stages"] = stage_summary.summary(opened.staged.stages)
    return answer | in_order(lists, missing)


def refusal(request_id: str, error: RequestError, rule: str | None = None) -> dict[str, object]:
    """Compose the reply to a request that is refused as a whole; *rule* made it, if any did."""
    answer: dict[str, object] = {
        "requestId": request_id,
        **({} if rule is None else {"rule": rule}),
        "error": error.error,
        "details": error.details,
        "code": error.code,
    }
    if error.retry_after is not None:
        answer["retryAfterSeconds"] = error.retry_after
    if isinstance(error, RefusedDecision):
        answer["tasksNotFound"] = not_found(error.decision.not_found)
        stages = error.decision.stages
        answer["tasksDenied"] = [
            denied(task) | ({"stage": stages[task.id]} if stages else {}) for task in error.decision.denied
        ]
    return answer


def denied(task: Task) -> dict[str, object]:
    """Return a task's entry in `tasksDenied`."""
    return _named(task, StartState.DENIED)


def not_found(selectors: Iterable[Selector]) -> list[dict[str, object]]:
    """Return the entries of `tasksNotFound`."""
    return [selector.as_json() for selector in selectors]


def encode(answer: Mapping[str, object]) -> str:
    """Write an answer as JSON text."""
    return orjson.dumps(answer).decode()


def _named(task: Task, state: StartState) -> dict[str, object]:
    return {"taskId": task.id, "taskName": task.name, "status": place(state)[1]}


def _entry(start: OpenStart) -> dict[str, object]:
    entry = _named(start.task, start.state)
    shown = {
        "stage": start.stage.number if start.stage is not None else None,
        "executionId": start.execution_id,
        "runningTaskId": start.running_task,
        "adopted": start.adopted or None,
    }
    entry |= {key: value for key, value in shown.items() if value is not None}
    if start.state is StartState.WAITING:
        entry["reason"] = start.reason
        entry["behind"] = start.behind
        if start.reason == "capacity" and start.place is not None:
            entry["place"] = start.place
    if start.code is not None:
        entry["code"] = start.code
    if start.details is not None:
        entry["details"] = start.details
    return entry | _result(start)


def _result(start: OpenStart) -> dict[str, object]:
    """Return how the execution of a start ended, or that for which its stage skipped it."""
    execution = start.outcome
    if execution is not None and start.state is not StartState.RUNNING:
        return {
            "result": start.state.value,
            "durationMs": execution.duration_ms,
            "node": execution.node,
            "message": execution.message,
        }
    return {} if start.skipped_result is None else {"result": start.skipped_result}
