"""What a sender is told: the reply to a request, as JSON objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from butler_mqtt.domain.decisions import RefusedDecision
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.domain.states import StartState
from butler_mqtt.errors import RequestError

#: States in which the server's own answer says that an execution began.
BEGUN = frozenset(
    {
        StartState.RUNNING,
        StartState.SUCCEEDED,
        StartState.FAILED,
        StartState.ABORTED,
        StartState.SKIPPED_BY_QLIK,
    }
)

_LISTS = {
    StartState.WAITING: "tasksQueued",
    StartState.SKIPPED: "tasksSkipped",
    StartState.DENIED: "tasksDenied",
    StartState.WOULD_START: "tasksWouldStart",
    **dict.fromkeys(BEGUN, "tasksStarted"),
}
_STATUS = {
    StartState.WAITING: "queued",
    StartState.SKIPPED: "alreadyRunning",
    StartState.DENIED: "denied",
    StartState.WOULD_START: "wouldStart",
    StartState.UNKNOWN: "unknown",
    **dict.fromkeys(BEGUN, "started"),
}


@dataclass(frozen=True, slots=True)
class StartReport:
    """
    One start as the reply tells it.

    `code` is `task_not_found` for a task that is gone; `result` is what is
    known of an execution that ended.
    """

    task_id: str
    task_name: str
    state: StartState
    execution_id: str | None = None
    adopted: bool = False
    code: str | None = None
    details: str | None = None
    reason: str | None = None
    behind: str | None = None
    result: Mapping[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """Give the entry for its list."""
        entry: dict[str, object] = {
            "taskId": self.task_id,
            "taskName": self.task_name,
            "status": _STATUS.get(self.state, "notStarted"),
        }
        if self.execution_id is not None:
            entry["executionId"] = self.execution_id
        if self.adopted:
            entry["adopted"] = True
        if self.state is StartState.WAITING:
            entry["reason"] = self.reason
            entry["behind"] = self.behind
        if self.code is not None:
            entry["code"] = self.code
        if self.details is not None:
            entry["details"] = self.details
        entry.update(self.result or {})
        return entry


def reply(
    request_id: str,
    starts: Iterable[StartReport],
    not_found: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    """
    Compose the answer to a request that was decided.

    Returns:
        The object of design 4.2: `status` is `ok`, `partial` or `failed`.
    """
    lists: dict[str, list[dict[str, object]]] = {"tasksStarted": []}
    missing = list(not_found)
    for start in starts:
        if start.code == "task_not_found":
            missing.append({"taskId": start.task_id})
        else:
            lists.setdefault(_LISTS.get(start.state, "tasksFailed"), []).append(start.as_json())
    done = any(lists.get(name) for name in ("tasksStarted", "tasksQueued", "tasksSkipped", "tasksWouldStart"))
    wrong = bool(missing or lists.get("tasksDenied") or lists.get("tasksFailed"))
    order = ("tasksStarted", "tasksWouldStart", "tasksQueued", "tasksSkipped", "tasksDenied", "tasksFailed")
    return {
        "requestId": request_id,
        "status": "failed" if not done else "partial" if wrong else "ok",
        **{name: lists[name] for name in order if name in lists},
        "tasksNotFound": missing,
        "totalTasksStarted": len(lists["tasksStarted"]),
    }


def refusal(request_id: str, error: RequestError) -> dict[str, object]:
    """Compose the answer to a request that was refused as a whole."""
    answer: dict[str, object] = {
        "requestId": request_id,
        "error": error.error,
        "details": error.details,
        "code": error.code,
    }
    if isinstance(error, RefusedDecision):
        answer["tasksNotFound"] = [selector.as_json() for selector in error.decision.not_found]
        answer["tasksDenied"] = [denied(task) for task in error.decision.denied]
    return answer


def denied(task: Task) -> dict[str, object]:
    """Give a task's entry in `tasksDenied`."""
    return StartReport(task.id, task.name, StartState.DENIED).as_json()


def not_found(selectors: Iterable[Selector]) -> list[dict[str, object]]:
    """Give the entries of `tasksNotFound`."""
    return [selector.as_json() for selector in selectors]


def encode(answer: Mapping[str, object]) -> str:
    """Write an answer as JSON text."""
    return orjson.dumps(answer).decode()
