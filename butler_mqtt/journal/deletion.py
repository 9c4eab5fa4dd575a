"""
Deletes whole requests, many at a time, but for those of which something is still to come.

Plain SQL on the driver's cursor, with the rows as one JSON array: a list for each
number of rows would be compiled again each time, which costs more than the work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.engine.interfaces import DBAPICursor

# Names of tables come from the program, never from outside.
_ROWS = "(SELECT value FROM json_each(?1))"
#: Open ones; those with a message to be published, with a reply to those who wait for the end, with a stage
#: that is not over, or with a start that waits or goes on.
_STAYS = f"""
SELECT id FROM requests WHERE id IN {_ROWS} AND closed_at IS NULL
UNION SELECT request FROM outbox WHERE request IN {_ROWS} AND (quarantined_at IS NULL OR ?2)
UNION SELECT request FROM deliveries
   WHERE request IN {_ROWS} AND wait = 'finished' AND answered_at IS NULL
UNION SELECT request FROM stages WHERE request IN {_ROWS} AND state IN ('waiting', 'running')
UNION SELECT starts.request FROM starts LEFT JOIN runs ON runs.id = starts.run WHERE starts.request IN {_ROWS}
   AND (starts.state IN ('planned', 'waiting') OR runs.state IN ('intended', 'posted', 'executing'))
"""  # noqa: S608 -- see above
_DELETE_OF = tuple(
    f"DELETE FROM {table} WHERE request IN {_ROWS}"  # noqa: S608 -- see above
    for table in ("outbox", "notes", "deliveries", "starts", "stages")
)
_DELETE = f"DELETE FROM requests WHERE id IN {_ROWS}"  # noqa: S608 -- see above


class Forgotten(NamedTuple):
    """What became of requests that were to be forgotten; `messages` went with them, dead letters."""

    gone: int
    stays: frozenset[int]
    messages: int


def forget(cursor: DBAPICursor, rows: Sequence[int], *, with_dead_letters: bool) -> Forgotten:
    """
    Delete closed requests with their deliveries, starts, notes and messages.

    Args:
        cursor: Within a transaction.
        rows: Of the requests.
        with_dead_letters: Also those with messages that the broker did not take.

    Returns:
        How many went, and those of which something is still to come.
    """
    stays = staying(cursor, rows, with_dead_letters=with_dead_letters)
    old = json.dumps([row for row in rows if row not in stays])
    counts = []
    for statement in (*_DELETE_OF, _DELETE):
        cursor.execute(statement, (old,))
        counts.append(cursor.rowcount)
    return Forgotten(counts[-1], stays, counts[0])


def staying(cursor: DBAPICursor, rows: Sequence[int], *, with_dead_letters: bool) -> frozenset[int]:
    """Return those of these requests that `forget` leaves."""
    cursor.execute(_STAYS, (json.dumps(list(rows)), not with_dead_letters))
    return frozenset(int(row) for (row,) in cursor.fetchall())
