"""
Every change of state, written here and nowhere else.

The ledger gathers the changes of one turn of the pipeline as rows (`unit`) and,
beside them, what may be done only once they are on disk: messages to publish
(`publications`) and callers to tell (`effects`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count

from butler_mqtt import replies
from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import tables
from butler_mqtt.journal.unit import Unit
from butler_mqtt.model import Arrival, Execution, Publication, Request, Task
from butler_mqtt.records import Address, Delivery, OpenRequest, OpenStart, Run
from butler_mqtt.resolution import Decision, RefusedDecision
from butler_mqtt.settlement import Baseline
from butler_mqtt.states import REQUEST_MOVES, RUN_MOVES, START_MOVES, RequestState, RunState, StartState

#: Codes after which the same `requestId` is a real retry (design 4.1).
RETRYABLE = frozenset(
    {
        "invalid_json",
        "invalid_request",
        "invalid_task_id",
        "too_large",
        "not_supported",
        "rate_limited",
        "request_id_conflict",
        "qrs_unavailable",
    }
)

#: A request all of whose starts ended with one of these is refused as a whole.
_WHOLE = {
    "expired": ("Request expired", "nothing had begun when the time of the request was over"),
    "qrs_unavailable": ("Qlik Sense cannot be reached", ""),
    "cancelled": ("Request cancelled", "nothing had begun when it was taken back"),
}

_log = logging.getLogger("butler_mqtt.ledger")


class Ledger:
    """The open requests and all changes to them."""

    def __init__(self) -> None:
        self.unit = Unit()
        self.publications: list[Publication] = []
        self.effects: list[Callable[[], None]] = []
        self.open: dict[int, OpenRequest] = {}
        self.open_count = 0
        self._next: dict[str, count[int]] = {}

    def begin(self) -> None:
        """Forget what the last turn gathered."""
        self.unit = Unit()
        self.publications = []
        self.effects = []

    def number_from(self, highest: Mapping[str, int]) -> None:
        """Give new rows ids above those in *highest*, by table name."""
        self._next = {name: count(last + 1) for name, last in highest.items()}

    # ---- sessions and arrivals

    def session_began(self) -> int:
        """Record a new session with the broker and give its id."""
        identity = next(self._next["sessions"])
        self.unit.insert(tables.sessions, {"id": identity, "started_at": now_ms()})
        return identity

    def received(self, arrival: Arrival, request: Request, request_id: str, address: Address) -> OpenRequest:
        """Record a new request with its first delivery."""
        identity = next(self._next["requests"])
        expires_at = _earliest(to_ms(request.expires_at), address.expires_at)
        self._insert_request(identity, arrival, request_id, request, RequestState.RECEIVED, expires_at)
        opened = OpenRequest(
            identity,
            request_id,
            request,
            RequestState.RECEIVED,
            arrival.received_at,
            address.entered,
            expires_at,
        )
        self.open[identity] = opened
        self.open_count += 1
        opened.deliveries.append(self._insert_delivery(identity, arrival, address, request.wait))
        return opened

    def malformed(
        self,
        arrival: Arrival,
        error: RequestError,
        request_id: str,
        address: Address,
        request: Request | None = None,
    ) -> None:
        """Record a delivery that is refused on arrival, with its reply."""
        identity = next(self._next["requests"])
        answer = replies.encode(replies.refusal(request_id, error))
        self._insert_request(identity, arrival, request_id, request, RequestState.REFUSED, None)
        self.unit.update(
            tables.requests,
            identity,
            holds_id=error.code not in RETRYABLE,
            code=error.code,
            reply=answer,
            closed_at=now_ms(),
        )
        delivery = self._insert_delivery(identity, arrival, address, "started")
        self._answer(delivery, identity, request_id, answer)
        _log.warning(
            "request %s refused: %s: %s",
            request_id,
            error.code,
            error.details,
            extra={"action": "request_refused", "request_id": request_id},
        )

    def repeated(
        self, arrival: Arrival, row: int, request_id: str, address: Address, wait: str, answer: str | None
    ) -> None:
        """Record one more delivery of the request *row*; *answer* is its stored reply, if there is one."""
        delivery = self._insert_delivery(row, arrival, address, wait)
        if answer is not None:
            self._answer(delivery, row, request_id, answer)
        elif row in self.open:
            self.open[row].deliveries.append(delivery)
        _log.info(
            "request %s came again: %s",
            request_id,
            "it shares the reply to come" if answer is None else "answered with the stored reply",
            extra={"action": "request_repeated", "request_id": request_id},
        )

    # ---- requests

    def refused(self, opened: OpenRequest, error: RequestError) -> None:
        """Turn a request down as a whole and answer all its deliveries."""
        self._move_request(opened, RequestState.REFUSED)
        if isinstance(error, RefusedDecision):
            for task in error.decision.denied:
                self._insert_start(opened, task, StartState.DENIED, error.decision)
        answer = replies.encode(replies.refusal(opened.request_id, error))
        self._finish(opened, answer, error.code)
        _log.warning(
            "request %s refused: %s: %s",
            opened.request_id,
            error.code,
            error.details,
            extra={"action": "request_refused", "request_id": opened.request_id},
        )

    def decided(self, opened: OpenRequest, decision: Decision) -> list[OpenStart]:
        """
        Record which tasks the request starts.

        Returns:
            The starts that are to be carried out now; none for a dry run.
        """
        self._move_request(opened, RequestState.DECIDED)
        opened.not_found = list(replies.not_found(decision.not_found))
        self.unit.update(
            tables.requests,
            opened.id,
            decided_at=now_ms(),
            not_found=json.dumps(opened.not_found, ensure_ascii=False) if opened.not_found else None,
        )
        wanted = StartState.WOULD_START if opened.request.dry_run else StartState.PLANNED
        planned = [self._insert_start(opened, task, wanted, decision) for task in decision.tasks]
        for task in decision.denied:
            self._insert_start(opened, task, StartState.DENIED, decision)
        opened.undecided = 0 if opened.request.dry_run else len(planned)
        self._close_if_done(opened)
        return [] if opened.request.dry_run else planned

    # ---- starts and runs

    def intended(self, starts: list[OpenStart], baseline: Baseline, since: float) -> Run:
        """Record that the task of *starts* is about to be started by one POST."""
        identity = next(self._next["runs"])
        task = starts[0].task
        run = Run(identity, task, starts, RunState.INTENDED, baseline, now_ms(), since=since)
        self.unit.insert(
            tables.runs,
            {
                "id": identity,
                "task_id": task.id,
                "task_type": task.task_type,
                "state": run.state,
                "intended_at": run.intended_at,
                "attempts": 1,
                "baseline_result": baseline.result_id,
                "baseline_began": to_ms(baseline.began),
                "server_date": to_ms(baseline.server_date),
            },
        )
        for start in starts:
            start.run = identity
            self.unit.update(tables.starts, start.id, run=identity)
        return run

    def again(self, run: Run) -> None:
        """Record that a run whose POST began nothing is about to be posted once more."""
        self._move_run(run, RunState.INTENDED)
        run.attempts += 1
        run.looks = 0
        self.unit.update(tables.runs, run.id, attempts=run.attempts)

    def posted(self, run: Run, details: str) -> None:
        """Record that a POST left and nobody knows yet what became of it."""
        if run.state is not RunState.POSTED:
            self._move_run(run, RunState.POSTED)
        self.unit.update(tables.runs, run.id, details=details)

    def executing(self, run: Run, execution_id: str | None, *, adopted: bool = False) -> None:
        """Record that the server began an execution (without an id for kinds of tasks that have none)."""
        self._move_run(run, RunState.EXECUTING)
        self.unit.update(tables.runs, run.id, execution_id=execution_id, answered_at=now_ms())
        for start in run.starts:
            start.execution_id = execution_id
            start.adopted = adopted
            self._settle_start(start, StartState.RUNNING, None, None)

    def skipped(self, run: Run, execution: Execution | None) -> None:
        """Record that the task ran already and was left alone, as asked."""
        self._move_run(run, RunState.NONE)
        self.unit.update(tables.runs, run.id, answered_at=now_ms())
        for start in run.starts:
            start.execution_id = execution.id if execution else None
            self._settle_start(start, StartState.SKIPPED, None, None)

    def not_started(
        self, run: Run, code: str, details: str, state: StartState = StartState.NOT_STARTED
    ) -> None:
        """Record that the run began nothing, and why."""
        self._move_run(run, RunState.NONE)
        self.unit.update(tables.runs, run.id, answered_at=now_ms(), details=details)
        for start in run.starts:
            self._settle_start(start, state, code, details)

    def unknown(self, run: Run, details: str) -> None:
        """Record that nobody can tell what became of the run; it is not repeated."""
        self._move_run(run, RunState.UNKNOWN)
        self.unit.update(tables.runs, run.id, answered_at=now_ms(), details=details)
        for start in run.starts:
            self._settle_start(start, StartState.UNKNOWN, "outcome_unknown", details)

    def dropped(self, start: OpenStart, code: str, details: str, state: StartState) -> None:
        """Record that a start without a run will not be carried out."""
        self._settle_start(start, state, code, details)

    # ---- the outbox

    def published(self, publication: Publication) -> None:
        """Record that the broker has taken a message."""
        self.unit.delete(tables.outbox, publication.id)
        if publication.delivery is not None:
            self.unit.update(tables.deliveries, publication.delivery, confirmed_at=now_ms())

    def refused_by_broker(self, publication: Publication, refusals: int) -> None:
        """Record that the broker did not take a message; it will be offered again."""
        self.unit.update(tables.outbox, publication.id, refusals=refusals)

    def quarantined(self, publication: Publication, reason: str) -> None:
        """Set a message aside that the broker will not take."""
        self.unit.update(tables.outbox, publication.id, quarantined_at=now_ms(), reason=reason)
        _log.error(
            "the reply to request %s cannot be published on %s: %s; it is kept in the outbox",
            publication.request_id,
            publication.topic,
            reason,
            extra={"action": "reply_quarantined", "request_id": publication.request_id},
        )

    # ---- helpers

    def _settle_start(
        self, start: OpenStart, state: StartState, code: str | None, details: str | None
    ) -> None:
        if state not in START_MOVES.get(start.state, ()):
            raise RuntimeError(f"start {start.id}: {start.state} cannot become {state}")
        start.state, start.code, start.details = state, code, details
        self.unit.update(
            tables.starts,
            start.id,
            state=state,
            execution_id=start.execution_id,
            adopted=start.adopted,
            code=code,
            details=details,
            changed_at=now_ms(),
        )
        owner = start.owner
        owner.undecided -= 1
        self._close_if_done(owner)

    def _close_if_done(self, opened: OpenRequest) -> None:
        if opened.undecided:
            return
        whole = _whole_refusal(opened)
        if whole is not None:
            self.refused(opened, whole)
            return
        answer = replies.reply(opened.request_id, map(_report, opened.starts), opened.not_found)
        self._move_request(opened, RequestState.CLOSED)
        self._finish(opened, replies.encode(answer), None)
        _log.info(
            "request %s answered: %s, %s started of %s",
            opened.request_id,
            answer["status"],
            answer["totalTasksStarted"],
            len(opened.starts),
            extra={"action": "request_answered", "request_id": opened.request_id},
        )

    def _finish(self, opened: OpenRequest, answer: str, code: str | None) -> None:
        self.unit.update(
            tables.requests,
            opened.id,
            reply=answer,
            code=code,
            holds_id=code not in RETRYABLE,
            closed_at=now_ms(),
        )
        for delivery in opened.deliveries:
            self._answer(delivery, opened.id, opened.request_id, answer)
        self.open.pop(opened.id, None)
        self.open_count -= 1

    def _answer(self, delivery: Delivery, row: int, request_id: str, answer: str) -> None:
        self.unit.update(tables.deliveries, delivery.id, answered_at=now_ms())
        if delivery.reply_topic is None:
            if delivery.on_reply is not None:
                self.effects.append(partial(delivery.on_reply, answer))
            return
        publication = Publication(
            next(self._next["outbox"]),
            delivery.reply_topic,
            answer.encode(),
            request_id,
            delivery.correlation,
            delivery.id,
        )
        self.publications.append(publication)
        self.unit.insert(
            tables.outbox,
            {
                "id": publication.id,
                "request": row,
                "delivery": delivery.id,
                "kind": "reply",
                "topic": publication.topic,
                "payload": publication.payload,
                "request_id": request_id,
                "correlation": publication.correlation,
                "created_at": now_ms(),
                "refusals": 0,
            },
        )

    def _insert_request(
        self,
        identity: int,
        arrival: Arrival,
        request_id: str,
        request: Request | None,
        state: RequestState,
        expires_at: int | None,
    ) -> None:
        if state not in REQUEST_MOVES[None]:
            raise RuntimeError(f"a request cannot begin as {state}")
        self.unit.insert(
            tables.requests,
            {
                "id": identity,
                "request_id": request_id,
                "holds_id": True,
                "fingerprint": request.fingerprint if request else None,
                "document": request.document if request else None,
                "sender": request.sender if request else None,
                "door": arrival.door,
                "state": state,
                "received_at": arrival.received_at,
                "expires_at": expires_at,
            },
        )

    def _insert_delivery(self, row: int, arrival: Arrival, address: Address, wait: str) -> Delivery:
        identity = next(self._next["deliveries"])
        message = arrival.message
        self.unit.insert(
            tables.deliveries,
            {
                "id": identity,
                "request": row,
                "door": arrival.door,
                "principal": arrival.principal,
                "received_at": arrival.received_at,
                "payload": address.payload,
                "topic": message.topic if message else None,
                "session": address.session if message else None,
                "packet_id": message.packet_id if message else None,
                "digest": address.digest,
                "reply_topic": address.reply_topic,
                "correlation": message.correlation if message else None,
                "wait": wait,
            },
        )
        correlation = message.correlation if message else None
        return Delivery(identity, address.reply_topic, correlation, arrival.on_reply)

    def _insert_start(
        self, owner: OpenRequest, task: Task, state: StartState, decision: Decision
    ) -> OpenStart:
        if state not in START_MOVES[None]:
            raise RuntimeError(f"a start cannot begin as {state}")
        start = OpenStart(next(self._next["starts"]), owner, task, state)
        owner.starts.append(start)
        self.unit.insert(
            tables.starts,
            {
                "id": start.id,
                "request": owner.id,
                "task_id": task.id,
                "task_name": task.name,
                "task_type": task.task_type,
                "kinds": ",".join(decision.kinds.get(task.id, ())),
                "state": state,
                "adopted": False,
                "changed_at": now_ms(),
            },
        )
        return start

    def _move_request(self, opened: OpenRequest, state: RequestState) -> None:
        if state not in REQUEST_MOVES.get(opened.state, ()):
            raise RuntimeError(f"request {opened.request_id}: {opened.state} cannot become {state}")
        opened.state = state
        self.unit.update(tables.requests, opened.id, state=state)

    def _move_run(self, run: Run, state: RunState) -> None:
        if state not in RUN_MOVES.get(run.state, ()):
            raise RuntimeError(f"run {run.id}: {run.state} cannot become {state}")
        run.state = state
        self.unit.update(tables.runs, run.id, state=state)


def _whole_refusal(opened: OpenRequest) -> RequestError | None:
    """Give the refusal of a request for which nothing at all was begun, for one common reason."""
    codes = {start.code for start in opened.starts if start.state is not StartState.DENIED}
    if len(codes) != 1 or opened.not_found:
        return None
    code = codes.pop()
    if code not in _WHOLE or any(start.state is StartState.DENIED for start in opened.starts):
        return None
    error, details = _WHOLE[code]
    return RequestError(code, error, details or opened.starts[0].details or error)


def _report(start: OpenStart) -> replies.StartReport:
    return replies.StartReport(
        start.task.id,
        start.task.name,
        start.state,
        start.execution_id,
        start.adopted,
        start.code,
        start.details,
    )


def _earliest(*moments: int | None) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)
