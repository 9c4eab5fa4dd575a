"""From the journal back into memory: after a process start and after a fault."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import RunState, StartState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import held_requests, queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.pipeline import stored_requests
from butler_mqtt.pipeline.backlog import DISCARDED, Backlog
from butler_mqtt.pipeline.cancel_requests import CancelRequests
from butler_mqtt.pipeline.stored_requests import StoredRequests
from butler_mqtt.printable import counted
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.starting.dispatcher import Dispatcher
from butler_mqtt.starting.stages import Stages

_NOT_BEGUN = frozenset({StartState.PLANNED, StartState.WAITING})

_log = logging.getLogger("butler_mqtt.recovery")


class Recovery:
    """
    Fills the ledger, the resolver, the dispatcher and the stages from the journal.

    Args:
        ledger: Gets the open requests.
        resolver: Emptied; the backlog fills it.
        dispatcher: Gets the starts.
        stages: Gets the requests with stages that are not over.
        stored: Reads requests and starts.
        backlog: Gets the requests without tasks.
        cancels: Gets the cancels without reply.
    """

    def __init__(
        self,
        ledger: Ledger,
        resolver: Resolver,
        dispatcher: Dispatcher,
        stages: Stages,
        stored: StoredRequests,
        backlog: Backlog,
        cancels: CancelRequests,
    ) -> None:
        self._ledger = ledger
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._stages = stages
        self._stored = stored
        self._backlog = backlog
        self._cancels = cancels

    def load(self, transaction: Transaction) -> None:
        """Replace what is in memory by what is open in the journal."""
        ledger = self._ledger
        self._backlog.load(transaction)
        if awaited := ledger.deliveries.awaited:
            # Their replies are on disk, though the commit of these seemed to have failed.
            for row in queries.answers(transaction, awaited):
                ledger.deliveries.pass_on(row["id"], row["answer"])
        self._resolver.reset()
        self._dispatcher.reset()
        self._stages.reset()
        self._cancels.reset()
        kept = self._stored.requests(transaction, queries.decided(transaction))
        finishing = self._stored.requests(transaction, queries.waiting_for_the_end(transaction))
        ledger.requests.load(queries.open_count(transaction), kept, finishing)
        # One object for each start, by whichever query it is read.
        starts = self._stored.starts(transaction, {**kept, **finishing})
        staged = self._stored.staged(transaction, {**kept, **finishing}, starts)
        ledger.stages.load(staged)
        planned, waiting = self._begin(transaction, starts)
        self._track(transaction, starts)
        for one in staged:
            discarded = DISCARDED if one.id in self._backlog.cancelling else None
            self._stages.restore(one, discarded=discarded)
        for opened in list(ledger.requests.finishing.values()):
            ledger.requests.finish_if_ended(opened)
        self._resume_cancels(kept.values())
        if self._backlog.cancelling:
            held_requests.cancelled(transaction)
        self._backlog.refill(transaction)
        if ledger.requests.count or waiting:
            _log.info(
                "%s open: %s ready, %s",
                counted(ledger.requests.count, "request is", "requests are"),
                counted(planned, "start is", "starts are"),
                counted(waiting, "waits", "wait"),
                extra={"action": "journal_read"},
            )

    def _resume_cancels(self, kept: Iterable[OpenRequest]) -> None:
        """Go on with cancels that have no reply, or refuse those that an operator has discarded."""
        for opened in kept:
            if opened.request.cancel is None:
                continue
            if opened.id in self._backlog.cancelling:
                self._ledger.requests.refused(
                    opened, RequestError("cancelled", "Request cancelled", DISCARDED)
                )
            else:
                self._cancels.resume(opened)

    def _begin(self, transaction: Transaction, starts: dict[int, OpenStart]) -> tuple[int, int]:
        """Pass on runs without outcome, waiting and planned starts; return how many are planned and wait."""
        runs = {row["id"]: row for row in queries.open_runs(transaction)}
        waiting = queries.starts_waiting(transaction)
        for row in waiting:
            if row["id"] not in starts:
                starts[row["id"]] = self._stored.start(row, None)
        under_way: dict[int, list[OpenStart]] = defaultdict(list)
        planned: list[OpenStart] = []
        lost = self._lost(transaction, starts.values(), set(runs))
        for start in list(starts.values()):
            if start in lost:
                self._ledger.starts.dropped(
                    [start], "outcome_unknown", held_requests.IN_DOUBT, StartState.UNKNOWN
                )
            elif start.request_row in self._backlog.cancelling and start.state in _NOT_BEGUN:
                self._ledger.starts.dropped([start], "cancelled", DISCARDED, StartState.CANCELLED)
            elif start.run in runs and start.state in {StartState.PLANNED, StartState.WAITING}:
                under_way[start.run or 0].append(start)
            elif start.state is StartState.PLANNED:
                planned.append(start)
            elif start.state is StartState.WAITING:
                self._dispatcher.pending.restore(start)
        for identity, served in under_way.items():
            self._dispatcher.restore(stored_requests.run(runs[identity], served))
        self._dispatcher.pending.add(planned)
        return len(planned), len(waiting)

    def _lost(
        self, transaction: Transaction, starts: Iterable[OpenStart], open_runs: set[int]
    ) -> set[OpenStart]:
        """Return the starts whose run was in doubt in a restored backup: nobody can reconcile them."""
        those = [start for start in starts if start.state in _NOT_BEGUN and start.run is not None]
        rows = queries.runs_by_ids(transaction, {start.run or 0 for start in those} - open_runs)
        states = dict.fromkeys(open_runs, RunState.INTENDED)
        states |= {row["id"]: RunState(row["state"]) for row in rows}
        return {start for start in those if states.get(start.run or 0, RunState.UNKNOWN) is RunState.UNKNOWN}

    def _track(self, transaction: Transaction, starts: dict[int, OpenStart]) -> None:
        runs = {row["id"]: row for row in queries.executing_runs(transaction)}
        served: dict[int, list[OpenStart]] = defaultdict(list)
        for row in queries.starts_served(transaction) if runs else ():
            start = starts.get(row["id"]) or self._stored.start(row, None)
            served[row["run"]].append(start)
        for identity, those in served.items():
            run = runs[identity]
            published = set((run["events"] or "").split(",")) - {""}
            age = max(0, now_ms() - run["intended_at"]) / 1000
            self._dispatcher.tracker.track(
                run["execution_id"], those[0].task, identity, those, published, age=age
            )
