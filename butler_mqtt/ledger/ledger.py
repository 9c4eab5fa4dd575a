"""
Every change of state of requests, starts and runs: written here (but for `journal.holding`).

Rows and what may be done after the commit are gathered in a `Turn`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence

from butler_mqtt.clock import moment, now_ms, to_ms
from butler_mqtt.contract import replies, request_reply, task_events
from butler_mqtt.domain.decisions import Decision, RefusedDecision
from butler_mqtt.domain.model import Arrival, Execution, Request, Task
from butler_mqtt.domain.open_work import Address, Delivery, OpenRequest, OpenStart, Run, Watch
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import (
    REQUEST_MOVES,
    RUN_MOVES,
    START_MOVES,
    RequestState,
    RunState,
    StartState,
)
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import tables
from butler_mqtt.journal.refusal_bounds import BODY_BYTES, Refusals
from butler_mqtt.ledger.deliveries import Deliveries
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: Codes after which the same `requestId` is a real retry, as it is after a malformed request.
RETRYABLE = frozenset({"rate_limited", "qrs_unavailable"})

_log = logging.getLogger("butler_mqtt.ledger")


class Ledger:
    """
    The open requests and all changes to them.

    Args:
        turn: Gathers the rows.
        event_topic: Above the topics of events; None tells none.
        if_running: What a request means that does not say.
        refusals: Bounds what is kept of refusals and repetitions.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        *,
        event_topic: str | None = None,
        if_running: str = "queue",
        refusals: Refusals | None = None,
    ) -> None:
        self._turn = turn
        self._refusals = refusals or Refusals(least=0)
        self.deliveries = Deliveries(turn)
        self._event_topic = event_topic
        self._skip_if_running = if_running == "skip"
        #: Requests without a reply, and those with one that somebody wants when all has ended.
        self.open: dict[int, OpenRequest] = {}
        self.finishing: dict[int, OpenRequest] = {}
        self.open_count = 0

    # ---- arrivals

    def session_began(self) -> int:
        """Record a new session with the broker and give its id."""
        identity = self._turn.new_id(tables.sessions)
        self._turn.unit.insert(tables.sessions, {"id": identity, "started_at": now_ms()})
        return identity

    def acknowledgements_read(self, session: int, up_to: int) -> None:
        """Record up to which delivery the broker has read our acknowledgements."""
        self._turn.unit.update(tables.sessions, session, read_up_to=up_to)

    def received(self, arrival: Arrival, request: Request, request_id: str, address: Address) -> OpenRequest:
        """Record a new request with its first delivery."""
        identity = self._turn.new_id(tables.requests)
        expires_at = to_ms(request.expires_at)
        if address.expires_at is not None:
            expires_at = address.expires_at if expires_at is None else min(expires_at, address.expires_at)
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
        opened.deliveries.append(self.deliveries.delivered(identity, arrival, address, request.wait))
        return opened

    def malformed(
        self,
        arrival: Arrival,
        error: RequestError,
        request_id: str,
        address: Address,
        request: Request | None = None,
    ) -> Delivery:
        """Record a delivery that is refused on arrival, with its reply."""
        identity = self._turn.new_id(tables.requests)
        answer = replies.encode(replies.refusal(request_id, error))
        size = len(arrival.payload)
        if size > BODY_BYTES:
            # Kept for those who look for the cause; a sender that goes wrong must not fill the disk.
            address = address._replace(payload=address.payload[:BODY_BYTES])
            request = None
        self._insert_request(identity, arrival, request_id, request, RequestState.REFUSED)
        self._turn.unit.update(
            tables.requests,
            identity,
            # Another request may hold it; and what could not be read may be sent again, mended.
            holds_id=False,
            code=error.code,
            reply=answer,
            closed_at=now_ms(),
        )
        delivery = self.deliveries.delivered(identity, arrival, address, "started")
        if size > BODY_BYTES:
            text = f"the body had {size} bytes; as it was refused, the first {BODY_BYTES} are kept"
            self._note("cut", text, request=identity)
        self.deliveries.answer(delivery, identity, request_id, answer, error.code)
        self._turn.after(self._refusals.recorded, identity, _bytes(answer, arrival, address, request))
        _log_refused(request_id, error)
        return delivery

    def repeated(self, arrival: Arrival, row: int, request_id: str, address: Address, wait: str) -> Delivery:
        """Record one more delivery of the request *row*, which is still to be answered."""
        # Its body says what that of the first does.
        address = address._replace(payload=address.payload[:BODY_BYTES])
        delivery = self.deliveries.delivered(row, arrival, address, wait)
        self._turn.after(self._refusals.repeated, row)
        _log.info(
            "request %s came again",
            request_id,
            extra={"action": "request_repeated", "request_id": request_id},
        )
        return delivery

    # ---- requests

    def refused(self, opened: OpenRequest, error: RequestError) -> None:
        """Turn a request down as a whole and answer all its deliveries."""
        self._move_request(opened, RequestState.REFUSED)
        if isinstance(error, RefusedDecision):
            for task in error.decision.denied:
                self._insert_start(opened, task, StartState.DENIED, error.decision)
        answer = replies.encode(replies.refusal(opened.request_id, error))
        self._close(opened, answer, error.code)
        self._answer_all(opened, answer, error.code)
        self._let_go(opened)
        _log_refused(opened.request_id, error)

    def decided(self, opened: OpenRequest, decision: Decision) -> list[OpenStart]:
        """
        Record which tasks the request starts.

        Returns:
            The starts that are to be carried out now; none for a dry run.
        """
        self._move_request(opened, RequestState.DECIDED)
        opened.not_found = list(replies.not_found(decision.not_found))
        self._turn.unit.update(
            tables.requests,
            opened.id,
            decided_at=now_ms(),
            not_found=json.dumps(opened.not_found, ensure_ascii=False) if opened.not_found else None,
        )
        wanted = StartState.WOULD_START if opened.request.dry_run else StartState.PLANNED
        planned = [self._insert_start(opened, task, wanted, decision) for task in decision.tasks]
        for task in decision.denied:
            self._insert_start(opened, task, StartState.DENIED, decision)
        self.reply_if_decided(opened)
        return [] if opened.request.dry_run else planned

    def reply_if_decided(self, opened: OpenRequest) -> None:
        """Write the reply of a request once none of its starts is undecided."""
        if opened.state is RequestState.CLOSED:
            self.finish_if_ended(opened)
            return
        if any(start.state is StartState.PLANNED for start in opened.starts):
            return
        whole = request_reply.whole_refusal(opened)
        if whole is not None:
            self.refused(opened, whole)
            return
        self._move_request(opened, RequestState.CLOSED)
        answer = request_reply.reply(opened)
        opened.reply = replies.encode(answer)
        self._close(opened, opened.reply, None)
        self._answer_all(opened, opened.reply, str(answer["status"]), wait="started")
        _log.info(
            "request %s answered: %s, %s started of %s",
            opened.request_id,
            answer["status"],
            answer["totalTasksStarted"],
            len(opened.starts),
            extra={"action": "request_answered", "request_id": opened.request_id},
        )
        if opened.deliveries:
            self.finishing[opened.id] = opened
            self.finish_if_ended(opened)
        else:
            self._let_go(opened)

    def finish_if_ended(self, opened: OpenRequest, *, anyway: bool = False) -> None:
        """Answer those who wait for the end, once nothing of the request goes on any more."""
        if not anyway and any(request_reply.goes_on(start) for start in opened.starts):
            return
        reply = request_reply.reply(opened)
        answer = replies.encode(reply)
        self._turn.unit.update(tables.requests, opened.id, final_reply=answer)
        self._answer_all(opened, answer, str(reply["status"]))
        self._let_go(opened)

    # ---- starts and runs

    def waits(self, start: OpenStart, reason: str, behind: str | None = None) -> None:
        """Record that a start waits: behind an execution, for a slot, or for its time."""
        first = start.state is not StartState.WAITING
        start.reason, start.behind, start.run = reason, behind, None
        self._turn.unit.update(tables.starts, start.id, run=None, reason=reason, behind=behind)
        if first:
            self._publish("queued", start.task, [start], reason=reason, behind=behind)
            self._settle([start], StartState.WAITING)

    def intended(self, starts: Sequence[OpenStart], baseline: Baseline, since: float) -> Run:
        """Record that the task of *starts* is about to be started by one POST."""
        identity = self._turn.new_id(tables.runs)
        task = starts[0].task
        run = Run(identity, task, list(starts), RunState.INTENDED, baseline, now_ms(), since)
        self._turn.unit.insert(
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
            self._turn.unit.update(tables.starts, start.id, run=identity)
        return run

    def again(self, run: Run) -> None:
        """Record that a run whose POST began nothing is about to be posted once more."""
        self.noted(run, "postedAgain", "nothing had begun, so that the start is asked of Qlik again")
        self._move_run(run, RunState.INTENDED)
        run.attempts += 1
        run.nothing_since = None
        self._turn.unit.update(
            tables.runs,
            run.id,
            attempts=run.attempts,
            nothing_at=None,
            baseline_result=run.baseline.result_id,
            baseline_began=to_ms(run.baseline.began),
        )

    def found_nothing(self, run: Run) -> None:
        """Record that a look at the server found nothing of a run for the first time."""
        self._turn.unit.update(tables.runs, run.id, nothing_at=moment())

    def posted(self, run: Run, details: str) -> None:
        """Record that a POST left and nobody knows yet what became of it."""
        if run.state is not RunState.POSTED:
            self._move_run(run, RunState.POSTED)
        self._turn.unit.update(tables.runs, run.id, details=details)
        self.noted(run, "inDoubt", f"the outcome was in doubt: {details}")

    def noted(self, run: Run, kind: str, text: str) -> None:
        """Record something about a run that is told with its requests; *kind* is a step of docs/audit.md."""
        self._note(kind, text, run=run.id)

    def _note(self, kind: str, text: str, **about: int) -> None:
        identity = self._turn.new_id(tables.notes)
        self._turn.unit.insert(
            tables.notes, {"id": identity, **about, "noted_at": now_ms(), "kind": kind, "text": text}
        )

    def redelivered(self, request: int | None, packet_id: int) -> None:
        """Record that the broker delivered again what is recorded already."""
        if request is not None:
            text = f"delivered again by the broker as packet {packet_id}: it was recorded already"
            self._note("redelivered", text, request=request)

    def executing(self, run: Run, execution_id: str | None, *, adopted: bool = False) -> None:
        """
        Record that the server began an execution.

        Without an id (kinds of tasks that have none) it cannot be followed, so
        the run is over as far as can be told.
        """
        self._move_run(run, RunState.EXECUTING)
        if execution_id is None:
            self._move_run(run, RunState.ENDED)
        self._turn.unit.update(
            tables.runs, run.id, execution_id=execution_id, answered_at=now_ms(), events="started"
        )
        self._publish("started", run.task, run.starts, execution_id)
        self.running(run.starts, run.id, execution_id, adopted=adopted)

    def running(
        self, starts: Sequence[OpenStart], run: int, execution_id: str | None, *, adopted: bool
    ) -> None:
        """Record that an execution serves *starts*."""
        for start in starts:
            if start.run != run:  # each value set anew is written to its indexes
                start.run = run
                self._turn.unit.update(tables.starts, start.id, run=run)
            start.execution_id, start.adopted = execution_id, adopted
            self._turn.unit.update(tables.starts, start.id, execution_id=execution_id, adopted=adopted)
        self._settle(starts, StartState.RUNNING)

    def began_nothing(self, run: Run) -> None:
        """Record that a run began nothing because the task ran already; its starts go their own ways."""
        self._move_run(run, RunState.NONE)
        self._turn.unit.update(tables.runs, run.id, answered_at=now_ms())

    def skipped(self, starts: Sequence[OpenStart], execution_id: str | None) -> None:
        """Record that the task ran already and was left alone, as asked."""
        for start in starts:
            start.execution_id = execution_id
            self._turn.unit.update(tables.starts, start.id, execution_id=execution_id)
        self._settle(starts, StartState.SKIPPED)

    def not_started(
        self, run: Run, code: str, details: str, state: StartState = StartState.NOT_STARTED
    ) -> None:
        """Record that the run began nothing, and why."""
        self.began_nothing(run)
        self._turn.unit.update(tables.runs, run.id, details=details)
        self.dropped(run.starts, code, details, state)

    def dropped(self, starts: Sequence[OpenStart], code: str, details: str, state: StartState) -> None:
        """Record that starts will not be carried out; those told as queued are told so."""
        published = [start for start in starts if start.state is StartState.WAITING]
        own = {StartState.EXPIRED, StartState.CANCELLED, StartState.UNKNOWN}
        kind = state.value if state in own else "failed"
        if published:
            self._publish(kind, published[0].task, published, code=code, message=details)
        self._settle(starts, state, code, details)

    def unknown(self, run: Run, details: str) -> None:
        """Record that nobody can tell what became of the run; it is not repeated."""
        self._move_run(run, RunState.UNKNOWN)
        self._turn.unit.update(tables.runs, run.id, answered_at=now_ms(), details=details)
        self._publish("unknown", run.task, run.starts, code="outcome_unknown", message=details)
        self._settle(run.starts, StartState.UNKNOWN, "outcome_unknown", details)

    def progressed(self, watch: Watch, kind: str) -> None:
        """Tell, once, that an execution runs or is retried."""
        if kind in watch.published:
            return
        watch.published.add(kind)
        if watch.run is not None:
            self._turn.unit.update(tables.runs, watch.run, events=",".join(sorted(watch.published)))
            self._publish(kind, watch.task, watch.starts, watch.execution_id)

    def ended(self, watch: Watch, execution: Execution | None, script_log: Sequence[str]) -> None:
        """Record how an execution ended; None when the server does not show it any more."""
        if watch.run is None:
            return
        state, kind = StartState.UNKNOWN, "unknown"
        if execution is not None:
            state, kind = task_events.ENDS.get(execution.status, (state, kind))
        self._turn.unit.update(
            tables.runs,
            watch.run,
            state=RunState.ENDED,
            events=",".join(sorted({*watch.published, kind})),
            result=state,
            ended_at=now_ms(),
        )
        if execution is not None:
            self._turn.unit.update(
                tables.runs,
                watch.run,
                node=execution.node,
                started_at=to_ms(execution.started),
                stopped_at=to_ms(execution.stopped),
                duration_ms=execution.duration_ms,
                message=execution.message,
            )
        self._turn.after(self._turn.counting.ended, state.value)
        published = task_events.outcome(execution, abort_reason=watch.abort_reason)
        self._publish(
            kind, watch.task, watch.starts, watch.execution_id, **published, scriptLog=list(script_log)
        )
        for start in watch.starts:
            start.outcome = execution if start.owner is not None else None
        if state is StartState.UNKNOWN:
            details = "the server does not show how the execution ended: look at the task in the QMC"
            self._settle(watch.starts, state, "outcome_unknown", details)
        else:
            self._settle(watch.starts, state)

    # ---- helpers

    def _settle(
        self,
        starts: Iterable[OpenStart],
        state: StartState,
        code: str | None = None,
        details: str | None = None,
    ) -> None:
        for start in starts:
            if state not in START_MOVES.get(start.state, ()):
                raise RuntimeError(f"start {start.id}: {start.state} cannot become {state}")
            if start.state is not StartState.RUNNING:
                self._turn.after(self._turn.counting.start, _counted_as(start, state))
            start.state, start.code, start.details = state, code, details
            self._turn.unit.update(
                tables.starts, start.id, state=state, code=code, details=details, changed_at=now_ms()
            )
        for owner in {start.owner.id: start.owner for start in starts if start.owner is not None}.values():
            self.reply_if_decided(owner)

    def _publish(
        self,
        kind: str,
        task: Task,
        starts: Sequence[OpenStart],
        execution_id: str | None = None,
        **more: object,
    ) -> None:
        if self._event_topic is None or not starts:
            return
        event = task_events.event(
            kind,
            task,
            list(dict.fromkeys(start.request_id for start in starts)),
            execution_id=execution_id,
            **more,
        )
        first = starts[0]
        self.deliveries.announce(first.request_row, first.request_id, f"{self._event_topic}/{task.id}", event)

    def _close(self, opened: OpenRequest, answer: str, code: str | None) -> None:
        self._turn.unit.update(tables.requests, opened.id, reply=answer, code=code, closed_at=now_ms())
        if code in RETRYABLE:
            self._turn.unit.update(tables.requests, opened.id, holds_id=False)
            self._turn.after(self._refusals.recorded, opened.id, 2 * len(opened.request.document))
        self.open.pop(opened.id, None)
        self.open_count -= 1

    def _answer_all(self, opened: OpenRequest, answer: str, code: str, *, wait: str | None = None) -> None:
        for delivery in opened.deliveries:
            if wait is None or delivery.wait == wait:
                self.deliveries.answer(delivery, opened.id, opened.request_id, answer, code)
        opened.deliveries = [one for one in opened.deliveries if wait is not None and one.wait != wait]

    def _let_go(self, opened: OpenRequest) -> None:
        self.finishing.pop(opened.id, None)
        for start in opened.starts:
            start.owner = None

    def _insert_request(
        self,
        identity: int,
        arrival: Arrival,
        request_id: str,
        request: Request | None,
        state: RequestState,
        expires_at: int | None = None,
    ) -> None:
        if state not in REQUEST_MOVES[None]:
            raise RuntimeError(f"a request cannot begin as {state}")
        self._turn.unit.insert(
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

    def _insert_start(
        self, owner: OpenRequest, task: Task, state: StartState, decision: Decision
    ) -> OpenStart:
        if state not in START_MOVES[None]:
            raise RuntimeError(f"a start cannot begin as {state}")
        wish = owner.request.if_running
        start = OpenStart(
            self._turn.new_id(tables.starts),
            owner,
            owner.id,
            owner.request_id,
            task,
            state,
            expires_at=owner.expires_at,
            not_before=to_ms(owner.request.not_before),
            skip_if_running=self._skip_if_running if wish is None else wish == "skip",
        )
        owner.starts.append(start)
        if state is not StartState.PLANNED:
            self._turn.after(self._turn.counting.start, state.value)
        self._turn.unit.insert(
            tables.starts,
            {
                "id": start.id,
                "request": owner.id,
                "task_id": task.id,
                "task_name": task.name,
                "task_type": task.task_type,
                "kinds": ",".join(decision.matched_by.get(task.id, ())),
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
        self._turn.unit.update(tables.requests, opened.id, state=state)

    def _move_run(self, run: Run, state: RunState) -> None:
        if state not in RUN_MOVES.get(run.state, ()):
            raise RuntimeError(f"run {run.id}: {run.state} cannot become {state}")
        run.state = state
        self._turn.unit.update(tables.runs, run.id, state=state)


def _counted_as(start: OpenStart, state: StartState) -> str:
    if state is StartState.RUNNING:
        return "adopted" if start.adopted else "started"
    return state.value


def _bytes(answer: str, arrival: Arrival, address: Address, request: Request | None) -> int:
    """Tell how many bytes of text a refusal keeps in the journal."""
    message = arrival.message
    document = request.document if request is not None else ""
    texts = (answer, document, address.payload, address.reply_topic or "")
    of_message = (message.topic, message.correlation or b"") if message is not None else ()
    return sum(map(len, texts)) + sum(map(len, of_message))


def _log_refused(request_id: str, error: RequestError) -> None:
    _log.warning(
        "request %s refused: %s: %s",
        request_id,
        error.code,
        error.details,
        extra={"action": "request_refused", "request_id": request_id},
    )
