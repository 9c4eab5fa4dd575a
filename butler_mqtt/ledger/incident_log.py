"""Log lines about what an operator has to know of: tasks that were not started, executions that failed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from butler_mqtt.domain.decisions import Decision
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart, Watch
from butler_mqtt.domain.states import RequestState, StartState
from butler_mqtt.journal.write_batch import WriteBatch
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: What becomes of starts that are not carried out, or of which nobody can tell.
NOT_STARTED = frozenset(
    {StartState.NOT_STARTED, StartState.EXPIRED, StartState.CANCELLED, StartState.UNKNOWN}
)
#: Names that one line has at most.
MAX_NAMED = 5
#: Characters of a reason that one line has at most.
MAX_REASON = 500

_log = logging.getLogger("butler_mqtt.ledger")


class Incidents:
    """
    Logs, once it is on disk, what went wrong: one line for each event, however much it concerns.

    Tasks of one request that are not started for one reason in one turn are one
    event, as is one execution that served many requests. Where a whole request is
    refused, the line about that says it all.
    """

    def __init__(self, turn: UnitOfWork) -> None:
        self._turn = turn
        self._unit: WriteBatch | None = None
        self._gathered: list[OpenStart] = []

    def decided(self, opened: OpenRequest, decision: Decision) -> None:
        """Report the selectors that found nothing, the tasks that may not be started, and at debug all."""
        if _log.isEnabledFor(logging.DEBUG):
            self._turn.after(_log_decision, opened, decision)
        if opened.request.dry_run:
            return
        if decision.not_found:
            self._turn.after(_log_not_found, opened, decision.not_found)
        if decision.denied:
            self._turn.after(_log_denied, opened, decision.denied)

    def denied(self, starts: Sequence[OpenStart]) -> None:
        """Report that *starts* may not begin any more, when their turn has come."""
        for start in starts:
            self._turn.after(_log_denied_late, start)

    def moved(self, starts: Sequence[OpenStart]) -> None:
        """Report *starts* that came to nothing after the reply to their request; for others `closed` does."""
        self._gather(
            start for start in starts if start.owner is None or start.owner.state is RequestState.CLOSED
        )

    def closed(self, opened: OpenRequest) -> None:
        """Report the starts that had come to nothing when the reply to *opened* was written."""
        self._gather(start for start in opened.starts if start.state in NOT_STARTED)

    def _gather(self, starts: Iterable[OpenStart]) -> None:
        found = list(starts)
        if not found:
            return
        if self._unit is not self._turn.unit:
            # A turn that is repeated gathers anew.
            self._unit, self._gathered = self._turn.unit, []
            self._turn.after(_log_not_started, self._gathered)
        self._gathered += found

    def execution_failed(self, watch: Watch, ended: str, reason: str) -> None:
        """Report that an execution *ended* otherwise than well, for *reason* if that is known."""
        if watch.starts:
            self._turn.after(_log_execution, watch, ended, reason)


def asked_by(door: str, sender: str | None, rule: str | None = None) -> str:
    """Name for people who sent a request, and the door it came through, or the rule that made it."""
    came = f"{door} {rule}" if rule is not None else door
    return f"{sender}, {came}" if sender else came


def _log_decision(opened: OpenRequest, decision: Decision) -> None:
    _log.debug(
        "request %s (%s)%s: selectors: %s; tasks to start: %s: %s; "
        "not allowed: %s; selectors that found none: %s",
        opened.request_id,
        asked_by(opened.door, opened.sender, opened.rule),
        ", a dry run" if opened.request.dry_run else "",
        len(opened.request.selectors),
        len(decision.tasks),
        ", ".join(
            f"{_task(one)} by {' and '.join(decision.matched_by.get(one.id, ()))}" for one in decision.tasks
        )
        or "none",
        len(decision.denied),
        len(decision.not_found),
        extra={"action": "request_decided", "request_id": opened.request_id},
    )


def _log_not_found(opened: OpenRequest, selectors: Sequence[Selector]) -> None:
    _log.warning(
        "request %s (%s): no task found for %s",
        opened.request_id,
        asked_by(opened.door, opened.sender, opened.rule),
        _some([_selector(one) for one in selectors], len(selectors)),
        extra={"action": "selector_not_found", "request_id": opened.request_id},
    )


def _log_denied(opened: OpenRequest, tasks: Sequence[Task]) -> None:
    _log.warning(
        "request %s (%s): not allowed by startTaskFilter.allowTask or by that of its sender, or held back by "
        "allMustExist: %s",
        opened.request_id,
        asked_by(opened.door, opened.sender, opened.rule),
        _some([_task(one) for one in tasks], len(tasks)),
        extra={"action": "start_denied", "request_id": opened.request_id},
    )


def _log_denied_late(start: OpenStart) -> None:
    _log.warning(
        "request %s (%s): not allowed any more by startTaskFilter, or by what its sender may start: %s",
        start.request_id,
        asked_by(start.door, start.sender),
        _task(start.task),
        extra={"action": "start_denied", "request_id": start.request_id},
    )


def _log_not_started(starts: Iterable[OpenStart]) -> None:
    """Log *starts* by their requests and reasons, and requests for the same tasks together."""
    tasks: dict[tuple[int, str | None], list[OpenStart]] = {}
    for start in starts:
        tasks.setdefault((start.request_row, start.code), []).append(start)
    requests: dict[tuple[str | None, tuple[str, ...]], list[list[OpenStart]]] = {}
    for (_, code), those in tasks.items():
        requests.setdefault((code, tuple(start.task.id for start in those)), []).append(those)
    for alike in requests.values():
        first = alike[0][0]
        _log.warning(
            "%s: %s %s: %s: %s",
            _requests([those[0] for those in alike]),
            _some([_task(start.task) for start in alike[0]], len(alike[0])),
            "may have been started or not" if first.state is StartState.UNKNOWN else "not started",
            first.code,
            (first.details or "no reason is known")[:MAX_REASON],
            extra={"action": "start_failed", "request_id": first.request_id},
        )


def _log_execution(watch: Watch, ended: str, reason: str) -> None:
    _log.warning(
        "%s: %s %s, execution %s: %s",
        _requests(watch.starts),
        _task(watch.task),
        ended,
        watch.execution_id,
        (reason or "no reason is shown")[:MAX_REASON],
        extra={"action": "execution_failed", "request_id": watch.starts[0].request_id},
    )


def _requests(starts: Sequence[OpenStart]) -> str:
    named = [
        f"{start.request_id} ({asked_by(start.door, start.sender, start.rule)})"
        for start in starts[:MAX_NAMED]
    ]
    return f"request{'s' if len(starts) > 1 else ''} {_some(named, len(starts))}"


def _task(task: Task) -> str:
    return f"task {task.name} ({task.id})"


def _selector(selector: Selector) -> str:
    return f"{selector.kind} {f'{selector.name}={selector.value}' if selector.name else selector.value}"


def _some(names: Collection[str], count: int) -> str:
    """Join the first of *names*, and say how many of *count* are not among them."""
    shown = list(names)[:MAX_NAMED]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
