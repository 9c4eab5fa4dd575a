"""Requests: arrivals, decisions and replies; those that are open are kept in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.contract import replies
from butler_mqtt.domain.decisions import Decision, RefusedDecision
from butler_mqtt.domain.model import Arrival, Request, Task
from butler_mqtt.domain.open_work import Address, Delivery, OpenRequest, OpenStart
from butler_mqtt.domain.states import RequestState, StartState, move
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import tables
from butler_mqtt.journal.refusal_bounds import BODY_BYTES, Refusals
from butler_mqtt.ledger.deliveries import Deliveries
from butler_mqtt.ledger.incident_log import Incidents, asked_by
from butler_mqtt.ledger.new_starts import NewStarts
from butler_mqtt.ledger.notes import Notes
from butler_mqtt.ledger.stage_records import StageRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork

_log = logging.getLogger("butler_mqtt.ledger")

#: Codes of refusals, besides those of a request that could not be read, after which the same `requestId` may
#: be sent again as a real retry (design: contract 4.1).
_RETRYABLE = frozenset({"rate_limited", "qrs_unavailable"})


class OpenRequests:
    """
    The open requests by row, and all changes to requests.

    All methods raise RuntimeError for a change that `domain.states` does not allow.

    Args:
        turn: Gathers the rows.
        deliveries: Writes arrivals and replies.
        notes: Writes what is seldom.
        incidents: Logs what went wrong.
        new_starts: Records starts.
        stages: Records stages.
        refusals: Bounds what is kept of refusals and repetitions.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        deliveries: Deliveries,
        notes: Notes,
        incidents: Incidents,
        new_starts: NewStarts,
        stages: StageRecords,
        *,
        refusals: Refusals,
    ) -> None:
        self._turn = turn
        self._deliveries = deliveries
        self._notes = notes
        self._incidents = incidents
        self._refusals = refusals
        self._new_starts = new_starts
        self._stages = stages
        #: Requests without a reply, and those with one of which a sender waits for the end.
        self.open: dict[int, OpenRequest] = {}
        self.finishing: dict[int, OpenRequest] = {}
        #: Open requests in memory and on disk.
        self.count = 0

    # ---- arrivals

    def received(self, arrival: Arrival, request: Request, request_id: str, address: Address) -> OpenRequest:
        """Record a new request with its first delivery."""
        identity = self._turn.new_id(tables.requests)
        expires_at = to_ms(request.expires_at)
        if address.expires_at is not None:
            expires_at = address.expires_at if expires_at is None else min(expires_at, address.expires_at)
        self._insert_request(
            identity, arrival, request_id, request, RequestState.RECEIVED, address.identity, expires_at
        )
        opened = OpenRequest(
            identity,
            request_id,
            request,
            RequestState.RECEIVED,
            arrival.received_at,
            address.entered,
            expires_at,
            door=arrival.door,
            identity=address.identity,
            rule=arrival.rule,
        )
        self.open[identity] = opened
        self.count += 1
        opened.deliveries.append(self._deliveries.delivered(identity, arrival, address, request.wait))
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
        answer = replies.encode(replies.refusal(request_id, error, arrival.rule))
        size = len(address.payload if arrival.origin is not None else arrival.payload)
        if size > BODY_BYTES:
            # Kept for finding the cause; a sender that goes wrong must not fill the disk.
            address = address._replace(payload=address.payload[:BODY_BYTES])
            request = None
        self._insert_request(identity, arrival, request_id, request, RequestState.REFUSED, address.identity)
        self._turn.unit.update(
            tables.requests,
            identity,
            # Another request may hold it; and what could not be read may be sent again, corrected.
            holds_id=False,
            code=error.code,
            reply=answer,
            closed_at=now_ms(),
        )
        delivery = self._deliveries.delivered(identity, arrival, address, "started")
        if size > BODY_BYTES:
            self._notes.cut(identity, size, BODY_BYTES)
        self._deliveries.answer(delivery, identity, request_id, answer, error.code)
        self._turn.after(self._refusals.recorded, identity, _bytes(answer, arrival, address, request))
        sender = address.identity or (request.sender if request else None)
        by = asked_by(arrival.door, sender, arrival.rule)
        self._report_refused(request_id, by, error)
        return delivery

    def repeated(
        self,
        arrival: Arrival,
        row: int,
        request_id: str,
        address: Address,
        wait: str,
        *,
        wants_decision: bool = False,
    ) -> Delivery:
        """
        Record one more delivery of the request *row*, which is still to be answered.

        *wants_decision*: a sender that waits for the end asks for the decision
        too, as `start --wait` does each time; the log need not say so.
        """
        # Its body means the same as the first.
        address = address._replace(payload=address.payload[:BODY_BYTES])
        delivery = self._deliveries.delivered(row, arrival, address, wait)
        self._turn.after(self._refusals.repeated, row)
        _log.log(
            logging.DEBUG if wants_decision else logging.INFO,
            "request %s came again",
            request_id,
            extra={"action": "request_repeated", "request_id": request_id},
        )
        return delivery

    # ---- what is in memory

    def load(
        self, count: int, opened: Mapping[int, OpenRequest], finishing: Mapping[int, OpenRequest]
    ) -> None:
        """Replace what is in memory; *count*: open requests, those on disk only included."""
        self.count = count
        self.open = dict(opened)
        self.finishing = dict(finishing)

    def keep(self, opened: Mapping[int, OpenRequest]) -> None:
        """Keep further open requests in memory."""
        self.open.update(opened)

    def leave_on_disk(self, opened: OpenRequest) -> None:
        """Keep an open request on disk only."""
        self.open.pop(opened.id, None)

    # ---- decision and reply

    def refused(self, opened: OpenRequest, error: RequestError) -> None:
        """Refuse a request as a whole and answer all its deliveries."""
        self._move(opened, RequestState.REFUSED)
        if isinstance(error, RefusedDecision):
            for task in error.decision.denied:
                self._insert_start(opened, task, StartState.DENIED, error.decision)
        answer = replies.encode(replies.refusal(opened.request_id, error, opened.rule))
        self._close(opened, answer, error.code)
        self._answer_all(opened, answer, error.code)
        self._let_go(opened)
        by = asked_by(opened.door, opened.sender, opened.rule)
        self._report_refused(opened.request_id, by, error)

    def decided(self, opened: OpenRequest, decision: Decision) -> list[OpenStart]:
        """
        Record which tasks the request starts.

        One with stages is replied to when `Starts.end_stage_if_over` has been called.

        Returns:
            The starts that are to be carried out now; none for a dry run.
        """
        self._move(opened, RequestState.DECIDED)
        opened.not_found = list(replies.not_found(decision.not_found))
        self._turn.unit.update(
            tables.requests,
            opened.id,
            decided_at=now_ms(),
            not_found=json.dumps(opened.not_found, ensure_ascii=False) if opened.not_found else None,
        )
        self._incidents.decided(opened, decision)
        if opened.request.stages:
            planned = self._stages.decided(opened, decision)
            if opened.request.dry_run:
                self.reply_if_decided(opened)
            return planned
        wanted = StartState.WOULD_START if opened.request.dry_run else StartState.PLANNED
        planned = [self._insert_start(opened, task, wanted, decision) for task in decision.tasks]
        for task in decision.denied:
            self._insert_start(opened, task, StartState.DENIED, decision)
        self.reply_if_decided(opened)
        return [] if opened.request.dry_run else planned

    def reply_if_decided(self, opened: OpenRequest) -> None:
        """Write the reply of a request once all its starts are decided."""
        if opened.state is RequestState.CLOSED:
            self.finish_if_ended(opened)
            return
        if any(start.state is StartState.PLANNED for start in opened.starts):
            return
        whole = replies.whole_refusal(opened)
        if whole is not None:
            self.refused(opened, whole)
            return
        self._move(opened, RequestState.CLOSED)
        self._incidents.closed(opened)
        answer = replies.reply(opened)
        opened.reply = replies.encode(answer)
        self._close(opened, opened.reply, None)
        self._answer_all(opened, opened.reply, str(answer["status"]), wait="started")
        self._turn.after(_log_answered, opened.request_id, answer, len(opened.starts))
        if opened.deliveries:
            self.finishing[opened.id] = opened
            self.finish_if_ended(opened)
        else:
            self._let_go(opened)

    def goes_on(self, opened: OpenRequest) -> None:
        """Record that a cancel is on its way, and has its reply later."""
        if opened.state is RequestState.RECEIVED:
            self._move(opened, RequestState.DECIDED)
            self._turn.unit.update(tables.requests, opened.id, decided_at=now_ms())

    def answered(self, opened: OpenRequest, answer: Mapping[str, object]) -> None:
        """Answer a cancel, which is over with that."""
        self._move(opened, RequestState.CLOSED)
        opened.reply = replies.encode(answer)
        self._close(opened, opened.reply, None)
        self._answer_all(opened, opened.reply, str(answer["status"]))

    def present_state(self, row: int, stored: str) -> RequestState:
        """Return the state of a request that has *stored* on disk, as this turn has changed it."""
        changed = self._turn.unit.changed(tables.requests, row)
        return RequestState(str(changed.get("state", stored)))

    def finish_if_ended(self, opened: OpenRequest, *, anyway: bool = False) -> None:
        """
        Answer those who wait for the end, once no execution of the request is active or to come.

        Args:
            opened: A closed request.
            anyway: Answer now, whatever is active or to come.
        """
        if not anyway and _goes_on(opened):
            return
        cancelled = replies.taken_back(opened)
        if cancelled is not None:
            reply, status = replies.refusal(opened.request_id, cancelled, opened.rule), cancelled.code
        else:
            reply = replies.reply(opened, at_the_end=True)
            status = str(reply["status"])
        answer = replies.encode(reply)
        self._turn.unit.update(tables.requests, opened.id, final_reply=answer)
        self._answer_all(opened, answer, status)
        self._let_go(opened)

    # ---- helpers

    def _close(self, opened: OpenRequest, answer: str, code: str | None) -> None:
        self._turn.unit.update(tables.requests, opened.id, reply=answer, code=code, closed_at=now_ms())
        if code in _RETRYABLE:
            self._turn.unit.update(tables.requests, opened.id, holds_id=False)
            self._turn.after(self._refusals.recorded, opened.id, 2 * len(opened.request.document))
        self.open.pop(opened.id, None)
        self.count -= 1

    def _answer_all(self, opened: OpenRequest, answer: str, code: str, *, wait: str | None = None) -> None:
        for delivery in opened.deliveries:
            if wait is None or delivery.wait == wait:
                self._deliveries.answer(delivery, opened.id, opened.request_id, answer, code)
        opened.deliveries = [one for one in opened.deliveries if wait is not None and one.wait != wait]

    def _let_go(self, opened: OpenRequest) -> None:
        self.finishing.pop(opened.id, None)
        for start in opened.starts:
            start.owner = None
        if opened.staged is not None:
            opened.staged.owner = None

    def _insert_request(
        self,
        identity: int,
        arrival: Arrival,
        request_id: str,
        request: Request | None,
        state: RequestState,
        owner: str | None,
        expires_at: int | None = None,
    ) -> None:
        self._turn.unit.insert(
            tables.requests,
            {
                "id": identity,
                "identity": owner,
                "request_id": request_id,
                "holds_id": True,
                "fingerprint": request.fingerprint if request else None,
                "document": request.document if request else None,
                "sender": request.sender if request else None,
                "door": arrival.door,
                "state": move(None, state, request_id),
                "received_at": arrival.received_at,
                "expires_at": expires_at,
                # Without the column, so that a request without a rule costs no more than before.
                **({} if arrival.rule is None else {"rule": arrival.rule}),
            },
        )

    def _insert_start(
        self, owner: OpenRequest, task: Task, state: StartState, decision: Decision
    ) -> OpenStart:
        matched_by = decision.matched_by.get(task.id, ())
        return self._new_starts.insert(owner, owner, task, state, matched_by)

    def _move(self, opened: OpenRequest, state: RequestState) -> None:
        opened.state = move(opened.state, state, opened.request_id)
        self._turn.unit.update(tables.requests, opened.id, state=state)

    def _report_refused(self, request_id: str, by: str, error: RequestError) -> None:
        self._turn.after(_log_refused, request_id, by, error)
        self._turn.alerting.refused(request_id, by, error.code, error.details)


def _goes_on(opened: OpenRequest) -> bool:
    """Return whether an execution of a request is active or still to come."""
    if opened.staged is not None and not opened.staged.over:
        return True
    return any(replies.goes_on(start.state, start.execution_id) for start in opened.starts)


def _bytes(answer: str, arrival: Arrival, address: Address, request: Request | None) -> int:
    """Return how many bytes of text a refusal keeps in the journal."""
    message = arrival.message
    document = request.document if request is not None else ""
    texts = (answer, document, address.payload, address.reply_topic or "")
    of_message = (message.topic, message.correlation or b"") if message is not None else ()
    return sum(map(len, texts)) + sum(map(len, of_message))


def _log_answered(request_id: str, answer: Mapping[str, object], starts: int) -> None:
    _log.info(
        "request %s answered: %s, %s started of %s",
        request_id,
        answer["status"],
        answer["totalTasksStarted"],
        starts,
        extra={"action": "request_answered", "request_id": request_id},
    )


def _log_refused(request_id: str, by: str, error: RequestError) -> None:
    _log.warning(
        "request %s (%s) refused: %s: %s",
        request_id,
        by,
        error.code,
        error.details,
        extra={"action": "request_refused", "request_id": request_id},
    )
