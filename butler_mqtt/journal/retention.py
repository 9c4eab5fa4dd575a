"""
Forgets what is older than the journal keeps, a few rows at a time, and frees the space.

Runs within the transactions of the one writer: a second connection would make
that one wait for its lock. What a step adds to a turn is bounded twice: by time,
checked after each statement, and by rows, since all pages that it touches are
written with the turn.

A sweep goes over requests, runs and sessions in order of age; what must stay is
skipped and read again in the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from butler_mqtt.clock import now_ms
from butler_mqtt.printable import counted

#: Rows after which a step ends: each lies on several pages, at random places of the indexes.
STEP_ROWS = 40
#: Requests or runs that one step reads.
STEP_READS = 20
#: Rows that one statement deletes.
MAX_DELETED = 20
#: Pages that one step moves to the front of the file.
STEP_PAGES = 20
#: Free pages that stay in the file for what comes next, or a share of the file where that is more.
KEPT_PAGES = 256

_BEGINNING = (-1, -1)

# Plain SQL on the driver's cursor: to make these statements each time would be most of the work, which
# delays that of others.

_OLD_REQUESTS = """
SELECT id, closed_at FROM requests WHERE closed_at < ? AND (closed_at, id) > (?, ?)
ORDER BY closed_at, id LIMIT ?
"""
#: Of which something is still to come: a message, a reply to those who wait for the end (the others have
#: theirs when it is closed), a stage, the end of an execution.
_BLOCKED = """
SELECT 1 FROM outbox WHERE request = ?1 AND (quarantined_at IS NULL OR quarantined_at >= ?2)
UNION ALL
SELECT 1 FROM deliveries WHERE request = ?1 AND wait = 'finished' AND answered_at IS NULL
UNION ALL
SELECT 1 FROM stages WHERE request = ?1 AND state IN ('waiting', 'running')
UNION ALL
SELECT 1 FROM starts LEFT JOIN runs ON runs.id = starts.run WHERE starts.request = ?1
   AND (starts.state IN ('planned', 'waiting') OR runs.state IN ('intended', 'posted', 'executing'))
LIMIT 1
"""
#: Deliveries whose acknowledgement the broker may not have read.
_LATE_DELIVERIES = "SELECT packet_id, id FROM deliveries WHERE request = ? AND id > ? AND session = ?"
_DELETE_OF = {
    table: f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE request = ? LIMIT ?)"  # noqa: S608 -- own names
    for table in ("outbox", "notes", "deliveries", "starts", "stages")
}
_FREE_ID = "UPDATE requests SET holds_id = 0 WHERE id = ? AND holds_id"
_DELETE_REQUEST = "DELETE FROM requests WHERE id = ?"
#: In order of age, with the time since when each is over, null when it serves somebody or goes on, as that of
#: a planned start does.
_NEXT_RUNS = """
SELECT id, intended_at, CASE
  WHEN state IN ('intended', 'posted', 'executing') THEN NULL
  WHEN EXISTS (SELECT 1 FROM starts WHERE starts.run = runs.id AND state <> 'planned') THEN NULL
  ELSE coalesce(ended_at, answered_at, intended_at) END AS over_since
FROM runs WHERE id > ? ORDER BY id LIMIT ?
"""
_DELETE_NOTES = "DELETE FROM notes WHERE id IN (SELECT id FROM notes WHERE run = ? LIMIT ?)"
_DELETE_RUN = "DELETE FROM runs WHERE id = ?"
#: The newest session is the one that goes on.
_DELETE_SESSIONS = """
DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE started_at < ? AND id < (SELECT max(id) FROM sessions)
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.session = sessions.id) LIMIT ?)
"""
#: The newest is the one that goes on.
_DELETE_PROCESS_STARTS = """
DELETE FROM lives WHERE id IN (
  SELECT id FROM lives WHERE began_at < ? AND id < (SELECT max(id) FROM lives) LIMIT ?)
"""

_DELETE_ALERTS = """
DELETE FROM alerts WHERE id IN (
  SELECT id FROM alerts WHERE quarantined_at < ? AND quarantined_at IS NOT NULL LIMIT ?)
"""

_log = logging.getLogger("butler_mqtt.retention")


@dataclass(frozen=True, slots=True)
class PruningPace:
    """How fast the journal is pruned; no operator configures it, tests pass other values."""

    #: Seconds after which a step ends with the statement in hand, if it has got on at all.
    step_seconds: float = 0.003
    #: Pause after a step, in times of what it took: where steps are slow they are few.
    rest: float = 20.0
    #: Seconds between two sweeps.
    between_sweeps_seconds: float = 10.0
    #: Share of the file that stays in it as free pages.
    kept_share: float = 0.1


class Unread(Protocol):
    """Deliveries of one session whose acknowledgement the broker may not have read."""

    session: int
    #: None of them has this row or a lower one.
    read_up_to: int

    def awaits(self, packet_id: int, row: int) -> bool:
        """Return whether a delivery is one of them."""


class _Step:
    """What a step does, and how much it still may."""

    def __init__(self, cursor: DBAPICursor, deadline: float) -> None:
        self.cursor = cursor
        self._deadline = deadline
        self._rows = STEP_ROWS
        self._got_on = False

    @property
    def over(self) -> bool:
        """Whether it has done enough; never before it has got on, however slow the disk."""
        return self._got_on and (self._rows <= 0 or time.monotonic() >= self._deadline)

    def passed(self) -> None:
        """Record that something was read that stays."""
        self._got_on = True

    def delete(self, statement: str, *given: int) -> int:
        """Run a statement and return how many rows went."""
        self.cursor.execute(statement, given)
        gone: int = self.cursor.rowcount
        self._rows -= gone
        self._got_on = self._got_on or gone > 0
        return gone


class Retention:
    """
    Prunes the journal.

    Args:
        days: How long a closed request is kept.
        unread: Returns the deliveries that redeliveries are compared with: they are kept.
        now: The present time in milliseconds since 1970; None while it is in doubt: then nothing is pruned.
        pace: How fast it goes.
    """

    def __init__(
        self,
        days: float,
        *,
        now: Callable[[], int | None] = now_ms,
        unread: Callable[[], Unread | None] = lambda: None,
        pace: PruningPace | None = None,
    ) -> None:
        self._kept_ms = round(days * 86_400_000)
        self._now = now
        self._unread = unread
        self._pace = pace or PruningPace()
        self._due = 0.0
        self._pruned = 0
        self._dropped = 0
        #: How far the sweep has come: the last request's time of closing and id, the last run's id.
        self._after = _BEGINNING
        self._after_run = -1

    def load(self) -> None:
        """Begin the sweep again: the transaction of the last step has failed."""
        self._pruned = self._dropped = 0
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
        now = self._now()
        if now is None:
            return False
        cutoff = now - self._kept_ms
        step = _Step(connection.connection.cursor(), began + self._pace.step_seconds)
        for phase in (self._prune_requests, self._prune_runs, self._give_back):
            if phase(step, cutoff):
                ended = time.monotonic()
                self._due = ended + self._pace.rest * (ended - began)
                return True
        step.delete(_DELETE_SESSIONS, cutoff, MAX_DELETED)
        step.delete(_DELETE_PROCESS_STARTS, cutoff, MAX_DELETED)
        step.delete(_DELETE_ALERTS, cutoff, MAX_DELETED)
        self._end_sweep()
        self._due = began + self._pace.between_sweeps_seconds
        return False

    # ---- what a sweep does, each part with True until it is through

    def _prune_requests(self, step: _Step, cutoff: int) -> bool:
        step.cursor.execute(_OLD_REQUESTS, (cutoff, *self._after, STEP_READS))
        old = step.cursor.fetchall()
        for identity, closed_at in old:
            if self._blocked(step, identity, cutoff):
                step.passed()
            elif not self._forget(step, identity):
                break
            self._after = (closed_at, identity)
            if step.over:
                break
        return bool(old)

    def _prune_runs(self, step: _Step, cutoff: int) -> bool:
        step.cursor.execute(_NEXT_RUNS, (self._after_run, STEP_READS))
        # Their ids are in order of age, so that the first young one ends the sweep without an index.
        old = list(takewhile(lambda row: row[1] < cutoff, step.cursor.fetchall()))
        for identity, _intended_at, over_since in old:
            if over_since is not None and over_since < cutoff:
                if step.delete(_DELETE_NOTES, identity, MAX_DELETED) == MAX_DELETED:
                    break  # the others, and the run, with the next step
                step.delete(_DELETE_RUN, identity)
            else:
                step.passed()
            self._after_run = identity
            if step.over:
                break
        return bool(old)

    def _give_back(self, step: _Step, _cutoff: int) -> bool:
        """Move pages from the end of the file into free ones; the next checkpoint cuts the end off."""
        free, pages = (_pragma(step.cursor, name) for name in ("freelist_count", "page_count"))
        spare = min(free - max(KEPT_PAGES, round(pages * self._pace.kept_share)), STEP_PAGES)
        moved = 0
        # One at a time: Python's driver runs this statement for its first step only, whatever its number.
        while moved < spare and not step.over:
            step.cursor.execute("PRAGMA incremental_vacuum(1)")
            step.passed()
            moved += 1
        return spare > 0

    # ---- helpers

    def _blocked(self, step: _Step, identity: int, cutoff: int) -> bool:
        """Return whether something of a request is still to come, the broker's redelivery of it too."""
        step.cursor.execute(_BLOCKED, (identity, cutoff))
        if step.cursor.fetchone() is not None:
            return True
        unread = self._unread()
        if unread is None:
            return False
        step.cursor.execute(_LATE_DELIVERIES, (identity, unread.read_up_to, unread.session))
        return any(unread.awaits(packet_id, row) for packet_id, row in step.cursor.fetchall())

    def _forget(self, step: _Step, identity: int) -> bool:
        """Delete a request with all that belongs to it; False when there is no time for the rest of it."""
        for table, statement in _DELETE_OF.items():
            deleted = MAX_DELETED
            while deleted == MAX_DELETED:
                deleted = step.delete(statement, identity, MAX_DELETED)
                if table == "outbox":
                    self._dropped += deleted
                if step.over:
                    # From now on its id is free: nobody shall get an answer made of what is left.
                    step.delete(_FREE_ID, identity)
                    return False
        step.delete(_DELETE_REQUEST, identity)
        self._pruned += 1
        return True

    def _end_sweep(self) -> None:
        if self._pruned:
            _log.info(
                "%s closed more than journal.retentionDays ago",
                counted(self._pruned, "request was forgotten,", "requests were forgotten,"),
                extra={"action": "journal_pruned"},
            )
        if self._dropped:
            _log.warning(
                "with them %s that the broker had never taken, dead letters for as long",
                counted(self._dropped, "message"),
                extra={"action": "journal_pruned"},
            )
        self.load()


def _pragma(cursor: DBAPICursor, name: str) -> int:
    cursor.execute(f"PRAGMA {name}")
    row = cursor.fetchone()
    return int(row[0]) if row else 0
