"""
Forgets what is older than the journal keeps, a few rows at a time, and gives the space back.

Runs within the transactions of the one writer: a second connection would make
that one wait for its lock. A sweep goes over requests, runs and sessions in
order of age; what must stay is passed by and looked at again in the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from itertools import takewhile

from sqlalchemy import (
    CompoundSelect,
    Connection,
    Select,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from butler_mqtt.clock import now_ms
from butler_mqtt.journal.tables import deliveries, outbox, requests, runs, sessions, starts

#: Seconds of work after which a step ends.
STEP_SECONDS = 0.005
#: Requests or runs that one step looks at, and rows of one kind that one statement deletes: each may touch
#: several pages at random places, and all of them are written and synced with the turn.
STEP_ROWS = 40
CHUNK_ROWS = 10
MAX_DELETED = 100
#: Pages that one step moves to the front of the file.
STEP_PAGES = 100
#: Seconds between two sweeps.
BETWEEN_SWEEPS_SECONDS = 10.0
#: Free pages that stay in the file for what comes next: so many, or this share of the file.
KEPT_PAGES = 256
KEPT_SHARE = 0.1

_BEGINNING = (-1, -1)
_OPEN_RUNS = ("intended", "posted", "executing")

_log = logging.getLogger("butler_mqtt.retention")


class Retention:
    """
    Prunes the journal.

    Args:
        days: How long a closed request is kept.
        now: The present time in milliseconds since 1970.
    """

    def __init__(self, days: float, *, now: Callable[[], int] = now_ms) -> None:
        self._kept_ms = round(days * 86_400_000)
        self._now = now
        self._due = 0.0
        self._pruned = 0
        self._dropped = 0
        #: How far the sweep has come: the last request's time of closing and id, the last run's id.
        self._after = _BEGINNING
        self._after_run = -1

    def step(self, connection: Connection) -> bool:
        """
        Do a little of what is due, within the transaction of *connection*.

        Returns:
            Whether there was anything to do; if so there may be more.
        """
        began = time.monotonic()
        if began < self._due:
            return False
        cutoff = self._now() - self._kept_ms
        for phase in (self._prune_requests, self._prune_runs, self._give_back):
            if phase(connection, cutoff, began + STEP_SECONDS):
                return True
        self._prune_sessions(connection, cutoff)
        self._end_sweep()
        self._due = began + BETWEEN_SWEEPS_SECONDS
        return False

    # ---- what a sweep does, each part with True until it is through

    def _prune_requests(self, connection: Connection, cutoff: int, deadline: float) -> bool:
        looked_at = 0
        while looked_at < STEP_ROWS and time.monotonic() < deadline:
            old = connection.execute(_old_requests(cutoff, self._after)).all()
            if not old:
                return looked_at > 0
            looked_at += len(old)
            blocked = set(connection.execute(_blocked([row.id for row in old], cutoff)).scalars())
            gone = [row.id for row in old if row.id not in blocked]
            if gone and not self._forget(connection, gone):
                return True
            self._after = (old[-1].closed_at, old[-1].id)
        return True

    def _prune_runs(self, connection: Connection, cutoff: int, deadline: float) -> bool:
        looked_at = 0
        while looked_at < STEP_ROWS and time.monotonic() < deadline:
            # Their ids are in order of age, so that the first young one ends the sweep without an index.
            found = connection.execute(_runs_after(self._after_run)).all()
            old = list(takewhile(lambda row: row.intended_at < cutoff, found))
            gone = [row.id for row in old if row.over_since is not None and row.over_since < cutoff]
            if gone:
                connection.execute(delete(runs).where(runs.c.id.in_(gone)))
            if not old:
                return looked_at > 0
            looked_at += len(old)
            self._after_run = old[-1].id
        return True

    def _give_back(self, connection: Connection, _cutoff: int, deadline: float) -> bool:
        """Move pages from the end of the file into free ones; the next checkpoint cuts the end off."""
        free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        spare = min(free - max(KEPT_PAGES, round(pages * KEPT_SHARE)), STEP_PAGES)
        moved = 0
        # One at a time: Python's driver runs this statement for its first step only, whatever its number.
        while moved < spare and time.monotonic() < deadline:
            connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
            moved += 1
        return moved > 0

    def _prune_sessions(self, connection: Connection, cutoff: int) -> None:
        """Drop sessions without deliveries; the newest is the one that goes on."""
        newest = select(func.max(sessions.c.id)).scalar_subquery()
        used = exists().where(deliveries.c.session == sessions.c.id)
        old = (
            select(sessions.c.id)
            .where(sessions.c.started_at < cutoff, sessions.c.id < newest, ~used)
            .limit(MAX_DELETED)
        )
        connection.execute(delete(sessions).where(sessions.c.id.in_(old)))

    # ---- helpers

    def _forget(self, connection: Connection, gone: Sequence[int]) -> bool:
        """Delete requests with all that belongs to them; False when they have more than goes at once."""
        for table in (outbox, deliveries, starts):
            some = select(table.c.id).where(table.c.request.in_(gone)).limit(MAX_DELETED)
            deleted = connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
            if table is outbox:
                self._dropped += deleted
            if deleted == MAX_DELETED:
                # From now on their ids are free: nobody shall get an answer made of what is left.
                connection.execute(update(requests).where(requests.c.id.in_(gone)).values(holds_id=False))
                return False
        connection.execute(delete(requests).where(requests.c.id.in_(gone)))
        self._pruned += len(gone)
        return True

    def _end_sweep(self) -> None:
        if self._pruned:
            _log.info(
                "%s requests closed more than journal.retentionDays ago were forgotten",
                self._pruned,
                extra={"action": "journal_pruned"},
            )
        if self._dropped:
            _log.warning(
                "with them %s messages that the broker had never taken, set aside for as long",
                self._dropped,
                extra={"action": "journal_pruned"},
            )
        self._pruned = self._dropped = 0
        self._after = _BEGINNING
        self._after_run = -1


def _old_requests(cutoff: int, after: tuple[int, int]) -> Select[tuple[int, int]]:
    place = tuple_(requests.c.closed_at, requests.c.id)
    return (
        select(requests.c.id, requests.c.closed_at)
        .where(requests.c.closed_at < cutoff, place > after)
        .order_by(requests.c.closed_at, requests.c.id)
        .limit(CHUNK_ROWS)
    )


def _blocked(rows: Sequence[int], cutoff: int) -> CompoundSelect[tuple[int]]:
    """Select those of *rows* of which something is still to come: a message, the end of an execution."""
    unpublished = select(outbox.c.request).where(
        outbox.c.request.in_(rows), or_(outbox.c.quarantined_at.is_(None), outbox.c.quarantined_at >= cutoff)
    )
    # Written as the partial index has it; those who wait for the start have their reply when it is closed.
    unanswered = select(deliveries.c.request).where(
        deliveries.c.request.in_(rows), text("wait = 'finished' AND answered_at IS NULL")
    )
    going_on = (
        select(starts.c.request)
        .outerjoin(runs, runs.c.id == starts.c.run)
        .where(
            starts.c.request.in_(rows),
            or_(starts.c.state.in_(("planned", "waiting")), runs.c.state.in_(_OPEN_RUNS)),
        )
    )
    return union_all(unpublished, unanswered, going_on)


def _runs_after(row: int) -> Select[tuple[int, int, int]]:
    """Select the next runs in order of age, with the time of the last that is known of each."""
    last = func.coalesce(runs.c.ended_at, runs.c.answered_at, runs.c.intended_at)
    used = or_(runs.c.state.in_(_OPEN_RUNS), exists().where(starts.c.run == runs.c.id))
    return (
        select(runs.c.id, runs.c.intended_at, case((used, None), else_=last).label("over_since"))
        .where(runs.c.id > row)
        .order_by(runs.c.id)
        .limit(CHUNK_ROWS)
    )
