"""
Bounds what is kept of refusals and repetitions, so that no sender can fill the disk with them.

A request that was refused and does not hold its id (it could not be read, its id
belongs to another, Qlik could not be reached) has started nothing and decides
nothing that comes: the newest are kept for finding the cause, by count
and by size. What a turn adds too much goes with the next, so that a sender meets
the bound as more work a turn and not as a file that grows.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from butler_mqtt.journal.deletion import forget

#: Refusals kept, and bytes of all of them; the last `receiveMaximum` are kept in any case.
MOST = 10_000
MOST_BYTES = 64 * 1024 * 1024
#: Bytes of a refused body, or of a repeated one, that are kept.
BODY_BYTES = 2048
#: Arrivals of one request kept besides the first, at least.
ARRIVALS = 200
#: Bytes of a refusal besides its texts: six rows and twelve entries of indexes, measured.
_ROW_BYTES = 1000
#: Refusals deleted in a turn to which none comes, and arrivals of one request in any.
CALM_STEP = 20
ARRIVALS_STEP = 500
#: Seconds until those are tried again whose replies have not been published.
PAUSE_SECONDS = 1.0
#: Seconds between two lines of the log about it.
_SAY_SECONDS = 60.0

#: The partial index has the few requests that do not hold their ids.
_KEPT = """
SELECT r.id, coalesce(length(r.reply), 0) + coalesce(length(r.document), 0) + coalesce(sum(
   length(d.payload) + coalesce(length(d.correlation), 0) + coalesce(length(d.topic), 0)
   + coalesce(length(d.reply_topic), 0)), 0)
FROM (SELECT id, reply, document FROM requests INDEXED BY requests_not_holding
      WHERE holds_id IS 0 AND state = 'refused' ORDER BY id DESC LIMIT ?) AS r
LEFT JOIN deliveries AS d ON d.request = r.id GROUP BY r.id ORDER BY r.id
"""
_OLDER = """
SELECT id FROM requests INDEXED BY requests_not_holding
WHERE holds_id IS 0 AND state = 'refused' AND id < ? LIMIT ?
"""
_DELETE_ARRIVALS = """
DELETE FROM deliveries WHERE id IN (
  SELECT id FROM deliveries WHERE request = ?1 AND answered_at IS NOT NULL
  AND id > (SELECT min(id) FROM deliveries WHERE request = ?1)
  AND id <= (SELECT id FROM deliveries WHERE request = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
  AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.request = ?1 AND outbox.delivery = deliveries.id)
  LIMIT ?3)
"""

_log = logging.getLogger("butler_mqtt.retention")


class _Kept(NamedTuple):
    row: int
    size: int


class Refusals:
    """
    The refusals that the journal keeps, oldest first.

    Args:
        least: So many are kept whatever their size: the broker may deliver them again.
        most: So many are kept.
        most_bytes: So many bytes are kept, about.
        arrivals: So many arrivals of one request are kept besides the first, and *least* in any case.
        pause_seconds: Until those are tried again whose replies have not been published.
    """

    def __init__(
        self,
        *,
        least: int,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        arrivals: int = ARRIVALS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._least = least
        self._most = max(most, least)
        self._most_bytes = most_bytes
        self._arrivals = max(arrivals, least)
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._due: deque[int] = deque()
        #: The oldest of those read at the start, as long as there may be older ones.
        self._older: int | None = None
        self._new = 0
        self._pause = 0.0
        self._repeated: dict[int, None] = {}
        self._gone = self._messages = 0
        self._said = 0.0

    def load(self, connection: Connection) -> None:
        """Read which there are."""
        self._kept.clear()
        self._due.clear()
        self._repeated.clear()
        self._bytes = 0
        cursor = connection.connection.cursor()
        cursor.execute(_KEPT, (self._most,))
        for row, size in cursor.fetchall():
            self.recorded(row, size)
        self._older = self._kept[0].row if len(self._kept) == self._most else None
        self._new = 0

    def recorded(self, row: int, size: int) -> None:
        """Record a refusal that is on disk; *size* is the bytes of its texts."""
        self._new += 1
        self._kept.append(_Kept(row, size + _ROW_BYTES))
        self._bytes += size + _ROW_BYTES
        while len(self._kept) > self._most or (
            self._bytes > self._most_bytes and len(self._kept) > self._least
        ):
            oldest = self._kept.popleft()
            self._bytes -= oldest.size
            self._due.append(oldest.row)

    def repeated(self, row: int) -> None:
        """Record that the request *row* arrived once more."""
        self._repeated[row] = None

    def step(self, connection: Connection) -> None:
        """Forget what is too much, in the transaction of *connection*, before anything new is taken in."""
        if self._repeated:
            cursor = connection.connection.cursor()
            for row in self._repeated:
                cursor.execute(_DELETE_ARRIVALS, (row, self._arrivals, ARRIVALS_STEP))
            self._repeated.clear()
        # Twice as many as came, so that a bound that was passed is reached again.
        size, self._new = max(CALM_STEP, 2 * self._new), 0
        if time.monotonic() < self._pause:
            return
        if not self._due and self._older is not None:
            self._read_older(connection.connection.cursor(), size)
        if self._due:
            self._forget(connection.connection.cursor(), size)
        self._say()

    def _read_older(self, cursor: DBAPICursor, size: int) -> None:
        cursor.execute(_OLDER, (self._older, size))
        self._due.extend(int(row) for (row,) in cursor.fetchall())
        if not self._due:
            self._older = None

    def _forget(self, cursor: DBAPICursor, size: int) -> None:
        rows = [self._due.popleft() for _ in range(min(size, len(self._due)))]
        done = forget(cursor, rows, with_dead_letters=True)
        self._due.extend(row for row in rows if row in done.stays)
        self._gone += done.gone
        self._messages += done.messages
        if not done.gone:
            # Their replies wait for the broker.
            self._pause = time.monotonic() + self._pause_seconds

    def _say(self) -> None:
        now = time.monotonic()
        if not self._gone or now - self._said < _SAY_SECONDS:
            return
        _log.info(
            "%s refused requests were forgotten before their time, with %s messages that the broker had not "
            "taken: the newest %s, or %s MB, are kept",
            self._gone,
            self._messages,
            self._most,
            self._most_bytes // (1024 * 1024),
            extra={"action": "refusals_pruned"},
        )
        self._said = now
        self._gone = self._messages = 0
