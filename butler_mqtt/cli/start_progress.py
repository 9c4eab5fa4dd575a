"""The progress of one request's tasks, from replies and events; no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Lists of a reply whose entries are tasks.
_LISTS = ("tasksStarted", "tasksWouldStart", "tasksQueued", "tasksSkipped", "tasksDenied", "tasksFailed")
#: Events after which nothing more comes about a task.
ENDS = frozenset({"succeeded", "failed", "aborted", "skipped", "expired", "cancelled", "unknown"})
#: What an event has beyond the reply that waited for the end.
_REPORTED = ("reason", "details", "scriptLog")
#: What a message about a task that waits has.
_OF_WAITING = frozenset({"reason", "behind", "place"})


@dataclass(slots=True)
class Outcome:
    """
    One task of the request.

    `since` is the monotonic time of the first message that it runs; `facts` are
    the last event's or the reply's. `stage` is the number of its stage, 0 without.
    """

    task_id: str
    task_name: str
    state: str
    since: float | None = None
    execution_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    stage: int = 0

    @property
    def ended(self) -> bool:
        """Whether an event or a reply reported its end."""
        return self.state in ENDS

    def seconds(self, now: float) -> float | None:
        """Return how long it ran, or runs until *now*; None when it never ran."""
        if self.facts.get("durationMs") is not None:
            return float(self.facts["durationMs"]) / 1000
        return None if self.since is None or self.ended else now - self.since


class Outcomes:
    """The tasks of a request, in the order of the first reply, and its stages by number."""

    def __init__(self, request_id: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.request_id = request_id
        self.tasks: dict[str, Outcome] = {}
        self.stages: dict[int, dict[str, Any]] = {}
        self._monotonic = monotonic
        self._ends: dict[str, Mapping[str, Any]] = {}

    def reply(self, answer: Mapping[str, Any]) -> None:
        """Apply a reply; the end that it reports is final."""
        for stage in answer.get("stages", ()):
            self.stages[stage["stage"]] = dict(stage)
        for name in _LISTS:
            for entry in answer.get(name, ()):
                known = self.tasks.get(entry["taskId"])
                if known is not None and known.ended and "result" not in entry:
                    continue
                state = str(entry.get("result") or entry["status"])
                self._set(entry, "skipped" if state == "skippedByQlik" else state)

    def event(self, event: Mapping[str, Any]) -> None:
        """Apply an event; those of other requests are ignored."""
        if self.request_id == event.get("requestId") and event.get("stage") in self.stages:
            self.stages[event["stage"]]["status"] = event["status"]
        if self.request_id not in event.get("requestIds", ()):
            return
        known = self.tasks.get(event["taskId"])
        if event["event"] in ENDS:
            self._ends[event["taskId"]] = event
        elif known is not None and known.ended:
            return  # repeated after a restart of the daemon
        self._set(event, str(event["event"]))

    def complete(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply that waited for the end, with what only the events report."""
        more = {
            task_id: {key: event[key] for key in _REPORTED if key in event}
            for task_id, event in self._ends.items()
        }
        completed = dict(answer)
        for name in _LISTS:
            if name in answer:
                completed[name] = [{**more.get(entry["taskId"], {}), **entry} for entry in answer[name]]
        return completed

    def unreported(self) -> bool:
        """Return whether the event of a task that failed, with the reason, is still missing."""
        return any(
            one.state in ENDS - {"succeeded"} and one.execution_id and one.task_id not in self._ends
            for one in self.tasks.values()
        )

    def _set(self, source: Mapping[str, Any], state: str) -> None:
        task_id = source["taskId"]
        outcome = self.tasks.setdefault(task_id, Outcome(task_id, source["taskName"], state))
        if outcome.state == "queued":
            # What it waited for says nothing of what came after.
            outcome.facts = {key: value for key, value in outcome.facts.items() if key not in _OF_WAITING}
        outcome.state = state
        outcome.stage = source.get("stage") or outcome.stage
        outcome.execution_id = source.get("executionId") or outcome.execution_id
        if state in {"started", "running"} and outcome.since is None:
            outcome.since = self._monotonic()
        outcome.facts = {**outcome.facts, **source}


def succeeded(answer: Mapping[str, Any]) -> bool:
    """
    Return whether a reply reports full success, by its `outcome`.

    A refusal has none, nor has the reply of a request that did not wait for the end.
    """
    return answer.get("outcome") == "succeeded"
