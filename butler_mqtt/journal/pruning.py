"""
Forgets requests before their time because an operator says so.

What goes on, what is still to be published, dead letters, and the last
messages, which the broker may deliver again, stay.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from butler_mqtt.journal.deletion import forget, staying

#: Requests that one batch reads.
BATCH = 50
#: Seconds after which a step of the daemon ends with the batch in hand: while requests arrive, and else.
STEP_SECONDS = 0.003
CALM_STEP_SECONDS = 0.01
#: Pause after a step, in times of what it took.
REST = 4.0

#: Refused ones where only these are asked for, and never the last messages of the newest session.
_MEANT = """
(NOT ?2 OR state = 'refused') AND id NOT IN (
  SELECT request FROM deliveries WHERE session = (SELECT max(id) FROM sessions) ORDER BY id DESC LIMIT ?3)
"""
#: In order of age, after a place, with whether each is meant: so many are read, however few those are.
_OLD = f"""
SELECT id, closed_at, {_MEANT} FROM requests WHERE closed_at < ?1 AND (closed_at, id) > (?4, ?5)
ORDER BY closed_at, id LIMIT ?6
"""  # noqa: S608 -- own text
_COUNT = f"SELECT count(*) FROM requests WHERE closed_at < ?1 AND {_MEANT}"  # noqa: S608 -- own text
_BYTES = """
SELECT coalesce(sum(length(payload)), 0) FROM deliveries WHERE request IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT coalesce(sum(coalesce(length(document), 0) + coalesce(length(reply), 0)), 0) FROM requests
WHERE id IN (SELECT value FROM json_each(?1))
"""
_BEGINNING = (-1, -1)

_log = logging.getLogger("butler_mqtt.retention")


@dataclass(frozen=True, slots=True)
class Order:
    """
    Which requests are to be forgotten.

    `before`: closed before it, milliseconds since 1970. `refused`: only those
    refused as a whole. `last`: so many of the last messages stay.
    """

    before: int
    refused: bool
    last: int


class Survey(NamedTuple):
    """What an order would do: requests that go, requests that stay, bytes of the texts of those that go."""

    go: int
    stay: int
    size: int


class Pruning:
    """Carries orders out, the newest alone, a step at a time."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._after = _BEGINNING
        self._due = 0.0
        self.gone = 0
        #: Order, place and number as the last transaction left them that was committed.
        self._committed: tuple[Order | None, tuple[int, int], int] = (None, _BEGINNING, 0)

    def commit(self) -> None:
        """Record that the transaction of the last step, or of the beginning, is on disk."""
        self._committed = (self._order, self._after, self.gone)

    def load(self) -> None:
        """Go back to what is on disk: a transaction has failed, and what it deleted is there again."""
        self._order, self._after, self.gone = self._committed
        self._due = 0.0

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        return self._order is None

    def begin(self, order: Order) -> None:
        """Begin with *order*, in the place of one before."""
        self._order = order
        self._after = _BEGINNING
        self._due = 0.0
        self.gone = 0

    def step(self, connection: Connection, *, seconds: float = CALM_STEP_SECONDS) -> None:
        """Carry out some of it, for about *seconds*, within the transaction of *connection*."""
        began = time.monotonic()
        if self._order is None or began < self._due:
            return
        cursor = connection.connection.cursor()
        while self._order is not None and time.monotonic() < began + seconds:
            self._batch(cursor, self._order)
        ended = time.monotonic()
        self._due = ended + REST * (ended - began)

    def hurry(self, connection: Connection, batches: int) -> None:
        """Carry out *batches* of it without a pause: nobody else writes."""
        cursor = connection.connection.cursor()
        for _ in range(batches):
            if self._order is not None:
                self._batch(cursor, self._order)

    def _batch(self, cursor: DBAPICursor, order: Order) -> None:
        rows, after = _next(cursor, order, self._after, BATCH)
        if rows:
            self.gone += forget(cursor, rows, with_dead_letters=False).gone
        if after is not None:
            self._after = after
            return
        self._order = None
        _log.info(
            "%s requests were forgotten, as an operator asked: %s",
            self.gone,
            "those refused" if order.refused else "those closed long enough ago",
            extra={"action": "requests_pruned"},
        )


def survey(connection: Connection, order: Order, *, batch: int = 1000) -> Iterator[Survey]:
    """See what *order* would do; yields what it has come to after each batch, at least once."""
    cursor = connection.connection.cursor()
    go = stay = size = 0
    after = _BEGINNING
    while True:
        rows, next_after = _next(cursor, order, after, batch)
        stays = staying(cursor, rows, with_dead_letters=False)
        stay += len(stays)
        go += len(rows) - len(stays)
        cursor.execute(_BYTES, (json.dumps([row for row in rows if row not in stays]),))
        size += sum(int(part) for (part,) in cursor.fetchall())
        yield Survey(go, stay, size)
        if next_after is None:
            return
        after = next_after


def count(connection: Connection, order: Order) -> int:
    """Count the requests that *order* is about, those that stay too."""
    cursor = connection.connection.cursor()
    cursor.execute(_COUNT, (order.before, order.refused, order.last))
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _next(
    cursor: DBAPICursor, order: Order, after: tuple[int, int], reads: int
) -> tuple[list[int], tuple[int, int] | None]:
    """Return the requests meant among the next *reads*, and the place of the last one; None at the end."""
    cursor.execute(_OLD, (order.before, order.refused, order.last, *after, reads))
    found = cursor.fetchall()
    rows = [int(row) for row, _, meant in found if meant]
    return rows, (int(found[-1][1]), int(found[-1][0])) if found else None
