"""
Forgets what is older than the journal keeps, a few rows at a time, and gives the space back.

Runs within the transactions of the one writer: a second connection would make
that one wait for its lock. A sweep goes over requests, runs and sessions in
order of age; what must stay is passed by and looked at again in the next one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from itertools import takewhile

from sqlalchemy import Connection

from butler_mqtt.clock import now_ms

#: Seconds of work after which a step ends.
STEP_SECONDS = 0.003
#: Requests or runs that one step looks at, and rows of one kind that one statement deletes: each may touch
#: several pages at random places, and all of them are written and synced with the turn.
STEP_ROWS = 20
CHUNK_ROWS = 10
MAX_DELETED = 100
#: Pages that one step moves to the front of the file.
STEP_PAGES = 60
#: Seconds between two sweeps.
BETWEEN_SWEEPS_SECONDS = 10.0
#: Free pages that stay in the file for what comes next: so many, or this share of the file.
KEPT_PAGES = 256
KEPT_SHARE = 0.1

_BEGINNING = (-1, -1)

# Plain SQL: to make these statements each time would be most of the work, which delays that of others.
# A list of ids is one JSON text.

_OLD_REQUESTS = """
SELECT id, closed_at FROM requests WHERE closed_at < ? AND (closed_at, id) > (?, ?)
ORDER BY closed_at, id LIMIT ?
"""
#: Of which something is still to come: a message, a reply to those who wait for the end (the others have
#: theirs when it is closed), the end of an execution.
_BLOCKED = """
SELECT request FROM outbox
 WHERE request IN (SELECT value FROM json_each(?1)) AND (quarantined_at IS NULL OR quarantined_at >= ?2)
UNION ALL
SELECT request FROM deliveries
 WHERE request IN (SELECT value FROM json_each(?1)) AND wait = 'finished' AND answered_at IS NULL
UNION ALL
SELECT starts.request FROM starts LEFT JOIN runs ON runs.id = starts.run
 WHERE starts.request IN (SELECT value FROM json_each(?1))
   AND (starts.state IN ('planned', 'waiting') OR runs.state IN ('intended', 'posted', 'executing'))
"""
_DELETE_OF = {
    table: f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} "  # noqa: S608 -- own names
    "WHERE request IN (SELECT value FROM json_each(?)) LIMIT ?)"
    for table in ("outbox", "deliveries", "starts")
}
_FREE_IDS = "UPDATE requests SET holds_id = 0 WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_REQUESTS = "DELETE FROM requests WHERE id IN (SELECT value FROM json_each(?))"
#: In order of age, with the time since when each is over, null when it serves somebody or goes on.
_NEXT_RUNS = """
SELECT id, intended_at, CASE
  WHEN state IN ('intended', 'posted', 'executing') THEN NULL
  WHEN EXISTS (SELECT 1 FROM starts WHERE starts.run = runs.id) THEN NULL
  ELSE coalesce(ended_at, answered_at, intended_at) END AS over_since
FROM runs WHERE id > ? ORDER BY id LIMIT ?
"""
_DELETE_RUNS = "DELETE FROM runs WHERE id IN (SELECT value FROM json_each(?))"
#: The newest session is the one that goes on.
_DELETE_SESSIONS = """
DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE started_at < ? AND id < (SELECT max(id) FROM sessions)
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.session = sessions.id) LIMIT ?)
"""

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
        connection.exec_driver_sql(_DELETE_SESSIONS, (cutoff, MAX_DELETED))
        self._end_sweep()
        self._due = began + BETWEEN_SWEEPS_SECONDS
        return False

    # ---- what a sweep does, each part with True until it is through

    def _prune_requests(self, connection: Connection, cutoff: int, deadline: float) -> bool:
        looked_at = 0
        while looked_at < STEP_ROWS and time.monotonic() < deadline:
            found = connection.exec_driver_sql(_OLD_REQUESTS, (cutoff, *self._after, CHUNK_ROWS))
            old = found.all()
            if not old:
                return looked_at > 0
            looked_at += len(old)
            named = json.dumps([row.id for row in old])
            blocked = set(connection.exec_driver_sql(_BLOCKED, (named, cutoff)).scalars())
            gone = [row.id for row in old if row.id not in blocked]
            if gone and not self._forget(connection, gone):
                return True
            self._after = (old[-1].closed_at, old[-1].id)
        return True

    def _prune_runs(self, connection: Connection, cutoff: int, deadline: float) -> bool:
        looked_at = 0
        while looked_at < STEP_ROWS and time.monotonic() < deadline:
            # Their ids are in order of age, so that the first young one ends the sweep without an index.
            found = connection.exec_driver_sql(_NEXT_RUNS, (self._after_run, CHUNK_ROWS)).all()
            old = list(takewhile(lambda row: row.intended_at < cutoff, found))
            gone = [row.id for row in old if row.over_since is not None and row.over_since < cutoff]
            if gone:
                connection.exec_driver_sql(_DELETE_RUNS, (json.dumps(gone),))
            if not old:
                return looked_at > 0
            looked_at += len(old)
            self._after_run = old[-1].id
        return True

    def _give_back(self, connection: Connection, _cutoff: int, deadline: float) -> bool:
        """Move pages from the end of the file into free ones; the next checkpoint cuts the end off."""
        free = int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        spare = min(free - max(KEPT_PAGES, round(pages * KEPT_SHARE)), STEP_PAGES)
        moved = 0
        # One at a time: Python's driver runs this statement for its first step only, whatever its number.
        while moved < spare and time.monotonic() < deadline:
            connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
            moved += 1
        return spare > 0

    # ---- helpers

    def _forget(self, connection: Connection, gone: Sequence[int]) -> bool:
        """Delete requests with all that belongs to them; False when they have more than goes at once."""
        named = json.dumps(gone)
        for table, statement in _DELETE_OF.items():
            deleted = connection.exec_driver_sql(statement, (named, MAX_DELETED)).rowcount
            if table == "outbox":
                self._dropped += deleted
            if deleted == MAX_DELETED:
                # From now on their ids are free: nobody shall get an answer made of what is left.
                connection.exec_driver_sql(_FREE_IDS, (named,))
                return False
        connection.exec_driver_sql(_DELETE_REQUESTS, (named,))
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
