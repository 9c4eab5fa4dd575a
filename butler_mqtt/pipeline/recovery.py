"""
From the journal back into memory: after a start, after a fault, and when a backlog is worked off.

Only so many requests are kept in memory; a longer backlog stays in the journal
and is read in order of arrival.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from butler_mqtt.clock import from_ms, now_ms, seconds_since, to_ms
from butler_mqtt.contract import validation
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.domain.open_work import Delivery, OpenRequest, OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RequestState, RunState, StartState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import held_requests, queries
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.starting.dispatcher import Dispatcher

#: Expired requests refused in one turn.
MAX_EXPIRED = 200

_DISCARDED = (
    "an operator discarded it after a backup had been restored; what was started after that backup was made "
    "is not known here"
)

_NOT_BEGUN = frozenset({StartState.PLANNED, StartState.WAITING})

_log = logging.getLogger("butler_mqtt.recovery")


class Recovery:
    """Fills the finder and the starter from the journal."""

    def __init__(
        self, ledger: Ledger, resolver: Resolver, dispatcher: Dispatcher, *, if_running: str
    ) -> None:
        self._ledger = ledger
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._if_running = if_running
        self._last_read = 0
        self._more = False
        #: Requests held since a backup was restored, and those whose rest an operator has discarded.
        self.held = 0
        self._cancelling: set[int] = set()
        #: Callers who wait for a reply, by delivery; the journal does not know them.
        self._callers: dict[int, Callable[[str], None]] = {}

    def load(self, transaction: Transaction, limit: int) -> None:
        """Replace what is in memory by what the journal says is open."""
        ledger = self._ledger
        self._tell_held(held_requests.count(transaction))
        self._cancelling = held_requests.cancelling(transaction)
        for opened in (*ledger.requests.open.values(), *ledger.requests.finishing.values()):
            self._callers |= {one.id: one.on_reply for one in opened.deliveries if one.on_reply is not None}
        self._resolver.reset()
        self._dispatcher.reset()
        ledger.requests.open.clear()
        ledger.requests.finishing.clear()
        ledger.requests.count = queries.open_count(transaction)
        kept = self._opened(transaction, queries.decided(transaction))
        ledger.requests.open.update(kept)
        finishing = self._opened(transaction, queries.waiting_for_the_end(transaction))
        ledger.requests.finishing.update(finishing)
        # One object for each start, whichever way it is found.
        starts = self._starts(transaction, {**kept, **finishing})
        planned, waiting = self._begin(transaction, starts)
        self._follow(transaction, starts)
        for opened in finishing.values():
            ledger.requests.finish_if_ended(opened)
        if self._cancelling:
            held_requests.cancelled(transaction)
        self._last_read = 0
        self._more = True
        self.refill(transaction, limit)
        if ledger.requests.count or waiting:
            _log.info(
                "%s requests are open: %s starts stand ready, %s wait",
                ledger.requests.count,
                planned,
                waiting,
                extra={"action": "journal_read"},
            )

    def arrived(self, requests: Sequence[OpenRequest], limit: int) -> None:
        """Pass new requests on, or leave them to the journal while there are too many in memory."""
        for opened in requests:
            if self._more or len(self._resolver) >= limit:
                self._more = True
                self._ledger.requests.open.pop(opened.id, None)
            else:
                self._last_read = opened.id
                self._resolver.add([opened])

    def refill(self, transaction: Transaction, limit: int) -> None:
        """Read further requests when few are left in memory."""
        if not self._more or len(self._resolver) > limit // 2:
            return
        rows = queries.received(transaction, after=self._last_read, limit=limit, held=self.held > 0)
        if rows:
            self._last_read = rows[-1]["id"]
            opened = self._opened(transaction, rows)
            self._ledger.requests.open.update(opened)
            discarded = [one for one in opened.values() if one.id in self._cancelling]
            self._resolver.add(one for one in opened.values() if one.id not in self._cancelling)
            for one in discarded:
                self._ledger.requests.refused(one, RequestError("cancelled", "Request cancelled", _DISCARDED))
            if discarded:
                held_requests.cancelled(transaction, [one.id for one in discarded])
        self._more = len(rows) == limit

    def expire(self, transaction: Transaction) -> None:
        """Answer what is too late: requests of the backlog, and those who wait for an end."""
        now = now_ms()
        for opened in list(self._ledger.requests.finishing.values()):
            if opened.expires_at is not None and opened.expires_at <= now:
                self._ledger.requests.finish_if_ended(opened, anyway=True)
        if not self._more:
            return
        rows = queries.expired(
            transaction, now=now, after=self._last_read, limit=MAX_EXPIRED, held=self.held > 0
        )
        for opened in self._opened(transaction, rows).values():
            error = RequestError(
                "expired", "Request expired", "its tasks had not been found when its time was over"
            )
            self._ledger.requests.refused(opened, error)

    # ---- helpers

    def _tell_held(self, held: int) -> None:
        if held and held != self.held:
            _log.warning(
                "%s requests are held since a backup was restored: nothing of them is started, settled or "
                "published until butler-mqtt requests resume; butler-mqtt requests --held lists them",
                held,
                extra={"action": "requests_held"},
            )
        self.held = held

    def _begin(self, transaction: Transaction, starts: dict[int, OpenStart]) -> tuple[int, int]:
        """Hand over runs without outcome, waiting starts and planned ones; give how many of the latter."""
        runs = {row["id"]: row for row in queries.open_runs(transaction)}
        waiting = queries.starts_waiting(transaction)
        for row in waiting:
            if row["id"] not in starts:
                starts[row["id"]] = self._start(row, None)
        under_way: dict[int, list[OpenStart]] = defaultdict(list)
        planned: list[OpenStart] = []
        lost = self._lost(transaction, starts.values(), set(runs))
        for start in list(starts.values()):
            if start in lost:
                self._ledger.starts.dropped(
                    [start], "outcome_unknown", held_requests.IN_DOUBT, StartState.UNKNOWN
                )
            elif start.request_row in self._cancelling and start.state in _NOT_BEGUN:
                self._ledger.starts.dropped([start], "cancelled", _DISCARDED, StartState.CANCELLED)
            elif start.run in runs and start.state in {StartState.PLANNED, StartState.WAITING}:
                under_way[start.run or 0].append(start)
            elif start.state is StartState.PLANNED:
                planned.append(start)
            elif start.state is StartState.WAITING:
                self._dispatcher.pending.restore(start)
        for identity, served in under_way.items():
            self._dispatcher.restore(_run(runs[identity], served))
        self._dispatcher.pending.add(planned)
        return len(planned), len(waiting)

    def _lost(
        self, transaction: Transaction, starts: Iterable[OpenStart], open_runs: set[int]
    ) -> set[OpenStart]:
        """Give the starts whose run was in doubt in a backup that was restored, which nobody can settle."""
        those = [start for start in starts if start.state in _NOT_BEGUN and start.run is not None]
        rows = queries.runs_by_ids(transaction, {start.run or 0 for start in those} - open_runs)
        states = dict.fromkeys(open_runs, RunState.INTENDED)
        states |= {row["id"]: RunState(row["state"]) for row in rows}
        return {start for start in those if states.get(start.run or 0, RunState.UNKNOWN) is RunState.UNKNOWN}

    def _follow(self, transaction: Transaction, starts: dict[int, OpenStart]) -> None:
        runs = {row["id"]: row for row in queries.executing_runs(transaction)}
        served: dict[int, list[OpenStart]] = defaultdict(list)
        for row in queries.starts_served(transaction) if runs else ():
            start = starts.get(row["id"]) or self._start(row, None)
            served[row["run"]].append(start)
        for identity, those in served.items():
            run = runs[identity]
            published = set((run["events"] or "").split(",")) - {""}
            age = max(0, now_ms() - run["intended_at"]) / 1000
            self._dispatcher.tracker.track(
                run["execution_id"], those[0].task, identity, those, published, age=age
            )

    def _opened(self, transaction: Transaction, rows: Iterable[Row]) -> dict[int, OpenRequest]:
        opened = {row["id"]: _request(row) for row in rows}
        for row in queries.unanswered(transaction, list(opened)) if opened else ():
            opened[row["request"]].deliveries.append(
                Delivery(
                    row["id"],
                    row["door"],
                    row["received_at"],
                    row["wait"],
                    row["reply_topic"],
                    row["correlation"],
                    self._callers.pop(row["id"], None),
                )
            )
        return opened

    def _starts(self, transaction: Transaction, opened: Mapping[int, OpenRequest]) -> dict[int, OpenStart]:
        rows = queries.starts_of(transaction, list(opened)) if opened else ()
        runs = {row["run"] for row in rows if row["run"] is not None}
        ended = {row["id"]: row for row in queries.runs_by_ids(transaction, runs)} if runs else {}
        starts = {}
        for row in rows:
            owner = opened[row["request"]]
            start = self._start({**row, **_of_request(owner)}, owner)
            start.outcome = _outcome(ended.get(row["run"]))
            owner.starts.append(start)
            starts[start.id] = start
        return starts

    def _start(self, row: Row, owner: OpenRequest | None) -> OpenStart:
        request = owner.request if owner is not None else validation.reread(row["document"])
        return OpenStart(
            row["id"],
            owner,
            row["request"],
            row["request_id"],
            Task(row["task_id"], row["task_name"], row["task_type"]),
            StartState(row["state"]),
            expires_at=row["expires_at"],
            not_before=to_ms(request.not_before),
            skip_if_running=(request.if_running or self._if_running) == "skip",
            run=row["run"],
            execution_id=row["execution_id"],
            adopted=row["adopted"],
            code=row["code"],
            details=row["details"],
            reason=row["reason"],
            behind=row["behind"],
            # Only its names are in the journal: what ran last is read anew before it is started.
            unread=True,
        )


def _of_request(opened: OpenRequest) -> dict[str, object]:
    return {"request_id": opened.request_id, "expires_at": opened.expires_at}


def _request(row: Row) -> OpenRequest:
    request = validation.reread(row["document"])
    return OpenRequest(
        row["id"],
        row["request_id"],
        request,
        RequestState(row["state"]),
        row["received_at"],
        _monotonic(row["received_at"]),
        row["expires_at"],
        row["reply"],
        not_found=json.loads(row["not_found"] or "[]"),
    )


def _outcome(run: Row | None) -> Execution | None:
    if run is None or run["state"] != RunState.ENDED:
        return None
    return Execution(
        run["execution_id"],
        None,
        None,
        0,
        node=run["node"] or "",
        started=from_ms(run["started_at"]),
        stopped=from_ms(run["stopped_at"]),
        duration_ms=run["duration_ms"],
        message=run["message"] or "",
    )


def _run(row: Row, starts: list[OpenStart]) -> Run:
    return Run(
        row["id"],
        starts[0].task,
        starts,
        RunState(row["state"]),
        Baseline(row["baseline_result"], from_ms(row["baseline_began"]), from_ms(row["server_date"])),
        row["intended_at"],
        time.monotonic(),
        row["attempts"],
        # Not by the clock, which may have been set meanwhile.
        nothing_since=(
            None if row["nothing_at"] is None else time.monotonic() - seconds_since(row["nothing_at"])
        ),
    )


def _monotonic(ms: int) -> float:
    """Give the monotonic time of a moment of the clock; one in the future is now."""
    return time.monotonic() - max(0, now_ms() - ms) / 1000
