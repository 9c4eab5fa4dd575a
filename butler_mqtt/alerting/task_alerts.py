"""Alerts about requests, their starts, and the executions that serve them: what the ledger reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from butler_mqtt.alerting.alert_book import AlertBook
from butler_mqtt.alerting.conditions import Condition, Conditions
from butler_mqtt.alerting.task_facts import TaskFacts
from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.alert import MAX_REQUESTS, Alert
from butler_mqtt.domain.model import Execution, Publication, Task
from butler_mqtt.domain.open_work import OpenStart, Watch
from butler_mqtt.domain.states import StartState
from butler_mqtt.ledger.incident_log import asked_by
from butler_mqtt.printable import counted

#: The kind and the words for the end of an execution that is no success.
_ENDS: Final = {
    StartState.FAILED: ("executionFailed", "failed"),
    StartState.ABORTED: ("executionAborted", "was aborted"),
    StartState.SKIPPED_BY_QLIK: ("notStarted", "was skipped by Qlik Sense"),
    StartState.UNKNOWN: ("outcomeUnknown", "ended, and the server does not show how"),
}
#: The same for starts; one that was cancelled was cancelled by somebody.
_NOT_STARTED: Final = {
    StartState.NOT_STARTED: ("notStarted", "was not started"),
    StartState.EXPIRED: ("notStarted", "was not started in time"),
    StartState.UNKNOWN: ("outcomeUnknown", "may have been started or not"),
}
#: Codes of requests refused as a whole that are no fault of who sent them, with the kinds of their alerts.
_REFUSED: Final = {
    "rule_failed": "ruleFailed",
    "qrs_unavailable": "notStarted",
    "qrs_forbidden": "notStarted",
    "qrs_rejected": "notStarted",
    "internal_error": "notStarted",
}


class TaskAlerts:
    """
    Writes alerts with the states that they report; the ledger's `AlertHooks`.

    Args:
        book: Where alerts go.
        conditions: Which tasks fail.
        facts: What is known of tasks.
        now: The present time in milliseconds since 1970.
    """

    def __init__(
        self,
        book: AlertBook,
        conditions: Conditions,
        facts: TaskFacts,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._now = now
        #: Called with each task of which an execution of ours succeeded.
        self.on_success: Callable[[Task], None] = lambda _task: None
        self._book = book
        self._conditions = conditions
        self._facts = facts

    def intended(self, task: Task) -> None:
        """Note what was read of a task that is about to be started."""
        self._facts.note(task)

    def execution_ended(
        self, watch: Watch, execution: Execution | None, state: StartState, reason: str, log: Sequence[str]
    ) -> None:
        """Alert an execution that did not succeed, and one that did after others that had not."""
        end = _ENDS.get(state)
        node = execution.node if execution is not None else ""
        milliseconds = execution.duration_ms if execution is not None else None
        seconds = None if milliseconds is None else milliseconds / 1000
        if end is not None:
            self._worse(end, watch.task, watch.starts, reason, node=node, seconds=seconds, log=log)
            return
        self.on_success(watch.task)
        was = self._conditions.well(watch.task.id)
        if was is not None:
            self._alert(
                "recovered",
                "recovered",
                watch.task,
                watch.starts,
                _after(was),
                node=node,
                seconds=seconds,
            )

    def not_started(self, starts: Sequence[OpenStart], state: StartState) -> None:
        """Alert starts that came to nothing, those of one task together."""
        words = _NOT_STARTED.get(state)
        if words is None:
            return
        by_task: dict[str, list[OpenStart]] = {}
        for start in starts:
            by_task.setdefault(start.task.id, []).append(start)
        for those in by_task.values():
            first = those[0]
            self._facts.note(first.task)
            reason = ": ".join(one for one in (first.code, first.details) if one)
            self._worse(words, first.task, those, reason)

    def undeliverable(self, publication: Publication, reason: str) -> None:
        """Alert a message that became a dead letter."""
        what = "a reply" if publication.delivery is not None else "an event"
        alert = Alert(
            kind="replyUndeliverable",
            subject=publication.topic,
            title=f"{what} for {publication.topic} cannot be delivered",
            at=self._now(),
            reason=f"{reason}; it is a dead letter: fix the cause, then butler-mqtt requests resend",
            requests=((publication.request_id, ""),),
        )
        self._book.add(alert, lambda _target: True)

    def refused(self, request_id: str, by: str, code: str, details: str) -> None:
        """Alert a request refused as a whole for what is no fault of its sender, and one of a rule."""
        kind = _REFUSED.get(code)
        if kind is None:
            return
        of_rule = kind == "ruleFailed"
        alert = Alert(
            kind=kind,
            subject=by if of_rule else code,
            title=f"a message could not be made a request ({by})"
            if of_rule
            else f"a request was refused: {code}",
            at=self._now(),
            reason=details,
            requests=((request_id, by),),
        )
        self._book.add(alert, lambda _target: True)

    def overdue(self, task: Task, reason: str, since: int) -> None:
        """Alert a task that has not succeeded for too long."""
        self._facts.note(task)
        self._alert("overdue", "is overdue", task, (), reason, since=since)

    def in_time(self, task: Task, reason: str) -> None:
        """Alert that a task that was overdue has succeeded."""
        self._alert("recovered", "recovered: it is not overdue any more", task, (), reason)

    def _worse(
        self,
        end: tuple[str, str],
        task: Task,
        starts: Sequence[OpenStart],
        reason: str,
        *,
        node: str = "",
        seconds: float | None = None,
        log: Sequence[str] = (),
    ) -> None:
        now = self._conditions.worse(task.id, self._now())
        kind, words = end
        self._alert(
            kind,
            words,
            task,
            starts,
            reason or "no reason is shown",
            node=node,
            seconds=seconds,
            in_a_row=now.times,
            since=now.since,
            log=log,
        )

    def _alert(
        self,
        kind: str,
        words: str,
        task: Task,
        starts: Sequence[OpenStart],
        reason: str,
        *,
        node: str = "",
        seconds: float | None = None,
        in_a_row: int = 0,
        since: int | None = None,
        log: Sequence[str] = (),
    ) -> None:
        named = starts[:MAX_REQUESTS]
        alert = Alert(
            kind=kind,
            subject=task.id,
            title=f"task {task.name} {words}",
            at=self._now(),
            task=task.name,
            app=self._facts.app(task),
            node=node,
            seconds=seconds,
            reason=reason,
            requests=tuple(
                (start.request_id, asked_by(start.door, start.sender, start.rule)) for start in named
            ),
            more_requests=len(starts) - len(named),
            in_a_row=in_a_row,
            since=since,
            script_log=tuple(log),
        )
        self._book.add(alert, lambda target: self._facts.wanted(target, task))


def _after(was: Condition) -> str:
    return f"it succeeded after {counted(was.times, 'failure')} since {stamp_ms(was.since)}"
