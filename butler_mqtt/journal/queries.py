"""What the daemon reads from its journal: each function one query, rows as plain mappings."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
)

from butler_mqtt.domain.senders import UNKNOWN
from butler_mqtt.journal.held_requests import is_dead_letter, not_held
from butler_mqtt.journal.tables import deliveries, outbox, process_starts, requests, runs, sessions, starts

Row = Mapping[str, Any]


#: The plus keeps SQLite from going through all requests in the order of their ids instead of using an index.
BY_ID = literal_column("+requests.id", requests.c.id.type)


def read_rows(connection: Connection, query: Select[Any]) -> list[Row]:
    """Return the rows of *query*, each as a mapping of its own."""
    return [dict(row) for row in connection.execute(query).mappings()]


# The queries of every turn, with several values as one JSON array: a list for each number of values would be
# compiled again each time, which costs more than the query. One value alone needs no array, which is
# twice as quick.
_HOLDERS = """
    SELECT id, request_id, fingerprint, document, state, reply, final_reply, identity FROM requests
    WHERE request_id {} AND holds_id IS 1
"""
_KNOWN_EXECUTIONS = """
    SELECT execution_id, id FROM runs WHERE execution_id {} AND execution_id IS NOT NULL
"""


def _listed(connection: Connection, query: str, values: Collection[str]) -> Sequence[Row]:
    if len(values) == 1:
        condition, value = "= ?", next(iter(values))
    else:
        condition, value = "IN (SELECT value FROM json_each(?))", json.dumps(list(values))
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query.format(condition), (value,))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        cursor.close()


def has_id(request_id: str) -> ColumnElement[bool]:
    """Return the condition that a request has that id, holding it or not, as the two indexes have it."""
    named = requests.c.request_id == request_id
    return or_(and_(named, requests.c.holds_id.is_(True)), and_(named, requests.c.holds_id.is_(False)))


def owned_by(identity: str) -> ColumnElement[bool]:
    """Return the condition that a request is one of a sender's own; see `domain.senders.owns`."""
    own = requests.c.identity == identity
    return or_(own, requests.c.identity.is_(None)) if identity == UNKNOWN else own


def newest_time(connection: Connection) -> int | None:
    """
    Return the time of the newest entry, in milliseconds since 1970; None in an empty journal.

    The newest rows count, not the highest times: those may be of a clock that was wrong once.
    """
    times = [
        connection.execute(select(column).order_by(column.table.c.id.desc()).limit(1)).scalar()
        for column in (requests.c.received_at, runs.c.intended_at, process_starts.c.began_at)
    ]
    return max((one for one in times if one is not None), default=None)


def holders(connection: Connection, request_ids: Collection[str]) -> dict[str, Row]:
    """Return the requests that hold one of *request_ids*, by it."""
    return {row["request_id"]: row for row in _listed(connection, _HOLDERS, request_ids)}


def newest_with_id(connection: Connection, request_id: str) -> Row | None:
    """Return the request that holds *request_id*, else the newest that was refused under it; None: none."""
    query = select(requests).where(has_id(request_id))
    rows = read_rows(connection, query.order_by(requests.c.holds_id.desc(), requests.c.id.desc()).limit(1))
    return rows[0] if rows else None


def starts_covered(connection: Connection, request_row: int, cancel: int) -> Sequence[Row]:
    """Return the starts of a request that the cancel in the row *cancel* took back or had stopped."""
    query = select(starts).where(starts.c.request == request_row, starts.c.cancelled_by == cancel)
    return read_rows(connection, query.order_by(starts.c.id))


#: As the partial indexes have it: of requests that are open, and of starts that are not planned.
IS_OPEN = requests.c.closed_at.is_(None)
NOT_PLANNED = text("starts.state <> 'planned'")


def planned(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition for planned starts: they are not in all indexes, and belong to open requests."""
    others = requests.alias("others")
    opened = select(others.c.id).where(others.c.closed_at.is_(None))
    return and_(starts.c.request.in_(opened), starts.c.state == "planned", *conditions)


def open_count(connection: Connection) -> int:
    """Count the requests that have no reply yet, without those held."""
    query = select(func.count()).select_from(requests).where(IS_OPEN, not_held())
    return connection.execute(query).scalar() or 0


def received(connection: Connection, *, after: int, limit: int, held: bool = False) -> Sequence[Row]:
    """
    Return requests whose tasks are not known yet, in order of arrival, with ids above *after*.

    *held*: some are held, and left out; to test for them takes time in a long backlog.
    """
    # Found in the index first, so that only these are read whole.
    found = select(requests.c.id).where(IS_OPEN, requests.c.state == "received", after < BY_ID)
    found = found.where(not_held()) if held else found
    those = found.order_by(BY_ID).limit(limit)
    return read_rows(connection, select(requests).where(requests.c.id.in_(those)).order_by(requests.c.id))


def decided(connection: Connection) -> Sequence[Row]:
    """Return requests with starts that have no outcome; the pipeline keeps their number small."""
    opened = select(requests).where(IS_OPEN, requests.c.state == "decided", not_held())
    return read_rows(connection, opened.order_by(BY_ID))


def expired(connection: Connection, *, now: int, after: int, limit: int, held: bool = False) -> Sequence[Row]:
    """Return requests above *after* whose tasks are not known and whose time is over; *held* as before."""
    query = select(requests).where(
        requests.c.expires_at.isnot(None),
        requests.c.closed_at.is_(None),
        requests.c.expires_at <= now,
        requests.c.state == "received",
        requests.c.id > after,
    )
    query = query.where(not_held()) if held else query
    return read_rows(connection, query.limit(limit))


def unanswered(connection: Connection, request_rows: Collection[int]) -> Sequence[Row]:
    """Return the deliveries of these requests that have no reply yet."""
    return read_rows(
        connection,
        select(
            deliveries.c.id,
            deliveries.c.request,
            deliveries.c.door,
            deliveries.c.received_at,
            deliveries.c.wait,
            deliveries.c.reply_topic,
            deliveries.c.correlation,
        )
        .where(deliveries.c.request.in_(request_rows), deliveries.c.answered_at.is_(None))
        .order_by(deliveries.c.id),
    )


def answers(connection: Connection, delivery_rows: Collection[int]) -> Sequence[Row]:
    """Return these deliveries as far as they have a reply, each with it as `answer`."""
    those = select(func.json_each(json.dumps(list(delivery_rows))).table_valued("value").c.value)
    at_the_end = case((deliveries.c.wait == "finished", requests.c.final_reply))
    return read_rows(
        connection,
        select(deliveries.c.id, func.coalesce(at_the_end, requests.c.reply).label("answer"))
        .join(requests, requests.c.id == deliveries.c.request)
        .where(deliveries.c.id.in_(those), deliveries.c.answered_at.isnot(None)),
    )


def starts_of(connection: Connection, request_rows: Collection[int]) -> Sequence[Row]:
    """Return the starts of these requests in the order decided."""
    return read_rows(
        connection, select(starts).where(starts.c.request.in_(request_rows)).order_by(starts.c.id)
    )


def waiting_for_the_end(connection: Connection) -> Sequence[Row]:
    """Return the requests that have a reply and a delivery that waits for the end of their executions."""
    waiting = select(deliveries.c.request).where(
        deliveries.c.wait == "finished", deliveries.c.answered_at.is_(None)
    )
    query = select(requests).where(requests.c.id.in_(waiting), requests.c.state == "closed", not_held())
    return read_rows(connection, query.order_by(requests.c.id))


def starts_waiting(connection: Connection) -> Sequence[Row]:
    """Return the starts that wait, in the order decided."""
    return read_rows(connection, starts_with_requests().where(starts.c.state == "waiting"))


def starts_served(connection: Connection) -> Sequence[Row]:
    """Return the starts whose executions have not ended, in the order decided."""
    executing = select(runs.c.id).where(runs.c.state == "executing")
    return read_rows(
        connection,
        starts_with_requests().where(NOT_PLANNED, starts.c.run.in_(executing), starts.c.state == "running"),
    )


def starts_with_requests() -> Select[Any]:
    """Return the query for starts, in the order decided, each with what it needs of its request."""
    of_request = ("request_id", "expires_at", "document", "door", "rule", "identity")
    query = select(starts, *(requests.c[name] for name in of_request))
    return query.join(requests, requests.c.id == starts.c.request).where(not_held()).order_by(starts.c.id)


def executing_runs(connection: Connection) -> Sequence[Row]:
    """Return the runs whose executions have not ended."""
    return read_rows(connection, select(runs).where(runs.c.state == "executing").order_by(runs.c.id))


def runs_by_ids(connection: Connection, run_rows: Collection[int]) -> Sequence[Row]:
    """Return runs by their ids."""
    return read_rows(connection, select(runs).where(runs.c.id.in_(run_rows)))


def open_runs(connection: Connection) -> Sequence[Row]:
    """Return the runs between intent and outcome."""
    return read_rows(
        connection, select(runs).where(runs.c.state.in_(["intended", "posted"])).order_by(runs.c.id)
    )


def known_executions(connection: Connection, execution_ids: Collection[str]) -> dict[str, int]:
    """Return the run of each of these executions that the journal knows."""
    rows = _listed(connection, _KNOWN_EXECUTIONS, execution_ids)
    return {row["execution_id"]: row["id"] for row in rows}


def times_of(connection: Connection, identity: str, *, since: int, limit: int) -> list[int]:
    """Return when the last requests of a sender came, oldest first, without those refused as too many."""
    query = union_all(
        *(
            select(requests.c.received_at).where(
                part,
                requests.c.received_at > since,
                requests.c.identity == identity,
                func.coalesce(requests.c.code, "") != "rate_limited",
            )
            for part in (IS_OPEN, requests.c.closed_at.isnot(None))
        )
    )
    newest = query.order_by(query.selected_columns.received_at.desc()).limit(limit)
    return list(connection.execute(newest).scalars())[::-1]


def newest_session(connection: Connection) -> int:
    """Return the id of the newest session with the broker, 0 if there was none."""
    return connection.execute(select(func.max(sessions.c.id))).scalar() or 0


def read_up_to(connection: Connection, session: int) -> int:
    """Return the delivery up to which the broker has read the PUBACKs of a session, 0 for not known."""
    query = select(sessions.c.read_up_to).where(sessions.c.id == session)
    return connection.execute(query).scalar() or 0


_OF_SESSION = """
    SELECT packet_id, digest, id FROM deliveries
    WHERE session = ?1 AND id > ?2 AND packet_id > 0 ORDER BY id DESC LIMIT ?3
"""
#: With one maximum SQLite returns the other columns of that row.
_NEWEST_OF_EACH = """
    SELECT packet_id, digest, max(id) FROM deliveries INDEXED BY deliveries_by_session
    WHERE session = ?1 AND id > ?2 AND packet_id > 0 GROUP BY packet_id
"""


def last_packets(connection: Connection, *, session: int, limit: int) -> Sequence[tuple[int, bytes, int]]:
    """Return packet id, digest and row of the last deliveries of a session, oldest first."""
    return _plain(connection, _OF_SESSION, session, 0, limit)[::-1]


def newest_packets(connection: Connection, *, session: int, after: int) -> Sequence[tuple[int, bytes, int]]:
    """Return packet id, digest and row of the newest delivery of each packet id behind the row *after*."""
    return _plain(connection, _NEWEST_OF_EACH, session, after)


def _plain(connection: Connection, query: str, *values: int) -> list[Any]:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query, values)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def unpublished(connection: Connection, *, after: int, limit: int) -> Sequence[Row]:
    """Return rows of the outbox that are to be published, oldest first, with ids above *after*."""
    return read_rows(
        connection,
        select(outbox)
        .where(outbox.c.quarantined_at.is_(None), outbox.c.id > after)
        .order_by(outbox.c.id)
        .limit(limit),
    )


def dead_letters(connection: Connection, rows: Collection[int]) -> Sequence[Row]:
    """Return those of these rows of the outbox that the broker does not take, oldest first."""
    query = select(outbox).where(outbox.c.id.in_(rows), is_dead_letter())
    return read_rows(connection, query.order_by(outbox.c.id))


def request_of(connection: Connection, delivery: int) -> int | None:
    """Return the request of a delivery; None when it is not on disk yet, or not any more."""
    query = select(deliveries.c.request).where(deliveries.c.id == delivery)
    found: int | None = connection.execute(query).scalar()
    return found
