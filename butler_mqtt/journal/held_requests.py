"""
What was open in a restored backup, held until an operator resumes it.

A backup is older than what the Qlik server has done since: what waits in it may
have been started long ago, and its replies may have been published. Whatever is
open in it is therefore held: it is neither started nor reconciled nor published,
until `butler-mqtt requests resume`.

A held request has a note of the kind `held`, its messages are kept back with the
reason `RESTORED`. A run that was between intent and outcome becomes `unknown`:
what the server shows now proves nothing about a start before the backup.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, select, text

from butler_mqtt.domain.states import RUN_OPEN, RunState, move
from butler_mqtt.journal.tables import alerts, notes, outbox, requests, rule_windows

#: `PRAGMA user_version` of a copy made by `requests backup`; that of a journal in use is 0.
COPY_MARK = 1

#: Kinds of notes: held; resumed; to be cancelled by the daemon; what an operator decided.
HELD = "held"
WAS_HELD = "wasHeld"
CANCELLING = "cancelling"
RESUMED = "resumed"
#: All that say when it was held.
KINDS = frozenset({HELD, WAS_HELD, CANCELLING})

#: Reason for which the messages of held requests are not published.
RESTORED = "a backup was restored: it may have been published already"
RESTORED_ALERT = "a backup was restored: it may have been sent already"
#: Details of a run that was between intent and outcome.
IN_DOUBT = (
    "a backup was restored that was made between the start and its outcome: see the task in the QMC, "
    "this journal does not show whether it began"
)

_NOTE = "a backup was put in the journal's place: held until butler-mqtt requests resume"

_OPEN = """
    SELECT id AS request FROM requests WHERE closed_at IS NULL
    UNION SELECT request FROM starts WHERE state IN ('planned', 'waiting')
    UNION SELECT starts.request FROM starts JOIN runs ON runs.id = starts.run
      WHERE runs.state = 'executing' AND starts.state = 'running'
    UNION SELECT request FROM stages WHERE state IN ('waiting', 'running')
    UNION SELECT request FROM deliveries WHERE wait = 'finished' AND answered_at IS NULL
    UNION SELECT request FROM outbox WHERE quarantined_at IS NULL
"""
_HOLD = f"""
    INSERT INTO notes (id, request, noted_at, kind, text)
    SELECT (SELECT coalesce(max(id), 0) FROM notes) + row_number() OVER (ORDER BY request),
           request, :now, '{HELD}', :text
    FROM ({_OPEN}) WHERE request NOT IN (SELECT request FROM notes WHERE kind = '{HELD}')
"""  # noqa: S608 -- own words
_HELD_REQUESTS = select(notes.c.request).where(notes.c.kind == HELD)
_GIVE_UP = """
    UPDATE runs SET state = :after, answered_at = :now, details = :details
    WHERE state IN ('intended', 'posted') AND state = :before
"""
#: An execution is tracked for all its requests or for none.
_TOGETHER = f"""
    SELECT DISTINCT others.request FROM starts JOIN runs ON runs.id = starts.run
    JOIN starts AS others ON others.run = runs.id
    JOIN notes ON notes.request = others.request AND notes.kind = '{HELD}'
    WHERE runs.state = 'executing' AND others.state <> 'planned'
      AND starts.request IN (SELECT value FROM json_each(:rows))
"""  # noqa: S608 -- own words


def not_held() -> ColumnElement[bool]:
    """Return the condition for requests that are not held; it reads all notes, once a query."""
    return requests.c.id.not_in(_HELD_REQUESTS)


def is_held() -> ColumnElement[bool]:
    """Return the condition for requests that are held."""
    return requests.c.id.in_(_HELD_REQUESTS)


def is_dead_letter() -> ColumnElement[bool]:
    """Return the condition for messages that the broker does not take; those held are not among them."""
    return and_(outbox.c.quarantined_at.isnot(None), outbox.c.reason.is_distinct_from(RESTORED))


def count(connection: Connection) -> int:
    """Count the held requests."""
    query = select(func.count()).select_from(notes).where(notes.c.kind == HELD)
    return connection.execute(query).scalar_one()


def holds(connection: Connection, request: int) -> bool:
    """Return whether a request, by its row, is held."""
    query = select(notes.c.id).where(notes.c.request == request, notes.c.kind == HELD).limit(1)
    return connection.execute(query).first() is not None


def is_copy(connection: Connection) -> bool:
    """Return whether the file is a copy made by `requests backup`, not yet worked on by a daemon."""
    return bool(connection.exec_driver_sql("PRAGMA user_version").scalar_one() == COPY_MARK)


def hold(connection: Connection, now: int) -> int:
    """
    Hold all that is open, within the transaction of *connection*, and remove the mark of a copy.

    Args:
        connection: Nothing else may have been changed within its transaction.
        now: Milliseconds since 1970.

    Returns:
        The number of requests held, those of an earlier restore included.
    """
    connection.execute(notes.update().where(notes.c.kind == CANCELLING).values(kind=HELD))
    connection.execute(text(_HOLD), {"now": now, "text": _NOTE})
    for before in sorted(RUN_OPEN):
        # A change of state like the ledger's, so by the same rule.
        after = move(before, RunState.UNKNOWN, "in doubt")
        values = {"before": before, "after": after, "now": now, "details": IN_DOUBT}
        connection.execute(text(_GIVE_UP), values)
    connection.execute(
        outbox.update().where(outbox.c.quarantined_at.is_(None)).values(quarantined_at=now, reason=RESTORED)
    )
    connection.execute(
        alerts.update()
        .where(alerts.c.sent_at.is_(None), alerts.c.quarantined_at.is_(None))
        .values(quarantined_at=now, reason=RESTORED_ALERT)
    )
    # Messages that waited to become one request: most likely they did so after the backup.
    connection.execute(rule_windows.delete())
    connection.exec_driver_sql("PRAGMA user_version = 0")
    return count(connection)


@dataclass(frozen=True, slots=True)
class Released:
    """Resumed requests, by their rows, and how many of their messages are to be published or dropped."""

    rows: tuple[int, ...]
    messages: int


def release(connection: Connection, rows: Collection[int], *, cancel: bool) -> Released:
    """
    Resume held requests, with those that share an execution with them.

    Args:
        connection: In a transaction. The daemon reads its journal again afterwards.
        rows: Requests; none: all that are held.
        cancel: What of them has not begun is to be cancelled, their old messages are dropped.
    """
    held = set(connection.execute(_HELD_REQUESTS).scalars())
    chosen = held & set(rows) if rows else held
    while rows:
        more = connection.execute(text(_TOGETHER), {"rows": json.dumps(sorted(chosen))}).scalars()
        grown = chosen | set(more)
        if grown == chosen:
            break
        chosen = grown
    those = select(func.json_each(json.dumps(sorted(chosen))).table_valued("value").c.value)
    connection.execute(
        notes.update()
        .where(notes.c.kind == HELD, notes.c.request.in_(those))
        .values(kind=CANCELLING if cancel else WAS_HELD)
    )
    aside = (outbox.c.reason == RESTORED) & outbox.c.request.in_(those)
    if cancel:
        changed = connection.execute(outbox.delete().where(aside))
    else:
        fresh = {"quarantined_at": None, "reason": None, "refusals": 0}
        changed = connection.execute(outbox.update().where(aside).values(fresh))
    return Released(tuple(sorted(chosen)), changed.rowcount)


def cancelling(connection: Connection) -> set[int]:
    """Return the requests of which what has not begun is to be cancelled."""
    query = select(notes.c.request).where(notes.c.kind == CANCELLING)
    return {row for row in connection.execute(query).scalars() if row is not None}


def cancelled(connection: Connection, rows: Collection[int] | None = None) -> None:
    """Record that `cancelling` is done for these requests; None: for all but those without tasks yet."""
    if rows is None:
        later = select(requests.c.id).where(requests.c.closed_at.is_(None), requests.c.state == "received")
        those = notes.c.request.not_in(later)
    else:
        those = notes.c.request.in_(rows)
    connection.execute(notes.update().where(notes.c.kind == CANCELLING, those).values(kind=WAS_HELD))
