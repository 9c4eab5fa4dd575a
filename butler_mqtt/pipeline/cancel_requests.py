"""Requests that cancel another one: which one that is, and what follows before any of its tasks is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from butler_mqtt.contract import cancel_replies, validation
from butler_mqtt.domain import senders
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import RequestState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import held_requests, queries
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.pipeline.stored_requests import StoredRequests
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.starting.dispatcher import Dispatcher


class _Target(NamedTuple):
    """The request that is cancelled: its row, its present state, itself where it is in memory."""

    id: int
    state: RequestState
    is_cancel: bool
    opened: OpenRequest | None
    row: Row | None
    identity: str | None


class CancelRequests:
    """
    Finds the request that a cancel means, and has it taken back.

    Args:
        ledger: The open requests.
        resolver: Those whose tasks are not known.
        dispatcher: Takes starts back.
        stored: Reads requests from the journal.
        recorded: Returns the request of this turn that has an id.
        allow_stop: Whether executions may be stopped (`startTask.allowStop`).
    """

    def __init__(
        self,
        ledger: Ledger,
        resolver: Resolver,
        dispatcher: Dispatcher,
        stored: StoredRequests,
        recorded: Callable[[str], OpenRequest | None],
        *,
        allow_stop: bool,
    ) -> None:
        self._ledger = ledger
        self._resolver = resolver
        self._cancellation = dispatcher.cancellation
        self._stored = stored
        self._recorded = recorded
        self._allow_stop = allow_stop
        #: Those to be carried out as the next turn begins: read from the journal, or of a request that is
        #: on disk only and may have been delivered again in this turn.
        self._later: list[OpenRequest] = []

    def reset(self) -> None:
        """Forget all cancels; they are read again from the journal."""
        self._later.clear()

    def resume(self, opened: OpenRequest) -> None:
        """Accept a cancel without reply that was read from the journal."""
        self._later.append(opened)

    def turn_begins(self, transaction: Transaction) -> None:
        """Carry out what was left for this turn, before anything is recorded in it."""
        later, self._later = self._later, []
        for opened in later:
            if opened.id in self._cancellation.broken:
                self._cancellation.broken.discard(opened.id)
                details = "the cancel could not be carried out; see the log"
                self._refuse(opened, RequestError("internal_error", "Internal error", details))
                continue
            with self._cancellation.watched(opened):
                self._carry_out(opened, transaction, nothing_new=True)

    def receive(self, cancels: Iterable[OpenRequest], transaction: Transaction) -> None:
        """Carry out cancels that have just come, in order."""
        for opened in cancels:
            if opened.request.stop_running and not self._allow_stop:
                self._refuse(opened, cancel_replies.stopping_forbidden())
            else:
                self._carry_out(opened, transaction)

    def step(self) -> None:
        """Go on with cancels that have no reply, after what else happened in this turn."""
        if len(self._cancellation):
            self._cancellation.step()

    # ---- helpers

    def _carry_out(self, opened: OpenRequest, transaction: Transaction, *, nothing_new: bool = False) -> None:
        """Take back the request that *opened* means; *nothing_new*: nothing was recorded in this turn."""
        wanted = opened.request.cancel or ""
        target = self._target(opened, wanted, transaction)
        if target is None or not senders.may_cancel(opened.identity, target.identity):
            # Another sender's request is none that this one can know of.
            self._refuse(opened, cancel_replies.unknown(wanted))
        elif target.is_cancel:
            self._refuse(opened, cancel_replies.of_a_cancel(wanted))
        elif held_requests.holds(transaction, target.id):
            self._refuse(opened, cancel_replies.held(wanted))
        elif target.state is not RequestState.RECEIVED:
            self._cancellation.begin(opened, target.id, self._starts(opened, target, transaction))
        elif target.opened is not None:
            self._take_back(opened, target.opened)
        elif nothing_new and target.row is not None:
            [read] = self._stored.requests(transaction, [target.row]).values()
            self._take_back(opened, read)
        else:
            self._ledger.requests.goes_on(opened)
            self._later.append(opened)

    def _take_back(self, opened: OpenRequest, target: OpenRequest) -> None:
        """Cancel a request whose tasks are not known yet."""
        self._resolver.forget(target)
        details = f"it was taken back by request {opened.request_id} before its tasks were known"
        self._ledger.requests.refused(target, RequestError("cancelled", "Request cancelled", details))
        self._cancellation.begin(opened, target.id, ())

    def _target(self, opened: OpenRequest, wanted: str, transaction: Transaction) -> _Target | None:
        """Return the request that has the id *wanted*; None where none came before *opened*."""
        new = self._recorded(wanted)
        # Of this turn; one that came after the cancel is not meant.
        if new is not None and new.id <= opened.id:
            return _Target(new.id, new.state, new.request.cancel is not None, new, None, new.identity)
        row = queries.newest_with_id(transaction, wanted)
        if row is None or row["id"] > opened.id:
            return None
        requests = self._ledger.requests
        kept = requests.open.get(row["id"]) or requests.finishing.get(row["id"])
        state = kept.state if kept is not None else requests.present_state(row["id"], row["state"])
        # A request that could not be read has no document.
        is_cancel = row["document"] is not None and validation.reread(row["document"]).cancel is not None
        return _Target(row["id"], state, is_cancel, kept, row, row["identity"])

    def _starts(self, opened: OpenRequest, target: _Target, transaction: Transaction) -> list[OpenStart]:
        """Return the open starts of a request, and those that this cancel took hold of before a restart."""
        if target.opened is not None:
            starts = list(target.opened.starts)
        else:
            starts = self._cancellation.open_starts(target.id)
        if opened.state is RequestState.DECIDED and target.row is not None:
            known = {start.id for start in starts}
            of_request = ("request_id", "expires_at", "document", "door", "rule", "identity")
            more = {key: target.row[key] for key in of_request}
            starts += [
                self._stored.start({**row, **more}, None)
                for row in queries.starts_covered(transaction, target.id, opened.id)
                if row["id"] not in known
            ]
        return starts

    def _refuse(self, opened: OpenRequest, error: RequestError) -> None:
        self._ledger.requests.refused(opened, error)
