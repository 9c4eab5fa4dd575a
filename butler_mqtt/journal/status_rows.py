"""
What the REST API shows of the journal: the state of one request, and counts of what is open.

Read by other threads than the writer's, each call in a transaction of its own.
`journal.request_rows` reads requests whole, for operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, Select, func, select, text
from sqlalchemy.exc import DBAPIError

from butler_mqtt.journal import held_requests, stage_rows
from butler_mqtt.journal.queries import IS_OPEN, Row, has_id, owned_by, read_rows
from butler_mqtt.journal.search import Filters, Search
from butler_mqtt.journal.sqlite import reading_engine
from butler_mqtt.journal.sqlite_errors import journal_error
from butler_mqtt.journal.tables import deliveries, outbox, requests, runs, starts


@dataclass(frozen=True, slots=True)
class StatusRows:
    """
    A request with its deliveries, starts and stages as written; each start with its run's result.

    `held`: since a backup was restored.
    """

    request: Row
    deliveries: tuple[Row, ...]
    starts: tuple[Row, ...]
    held: bool
    stages: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """
    Counts of what is not done yet.

    `oldest_open` is in milliseconds since 1970, None when nothing is open.
    `outbox` counts messages to be published, `dead_letters` those that the
    broker does not take. Requests held since a backup was restored, and their
    messages, are not among these.
    """

    open_requests: int
    oldest_open: int | None
    outbox: int
    dead_letters: int
    executing: int


class StatusReader:
    """
    Reads the journal at *path*, also while it is being written; thread-safe.

    Its methods raise JournalError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine = reading_engine(path)

    def request(self, request_id: str, owner: str | None = None) -> StatusRows | None:
        """
        Return the request that holds *request_id*, else the newest that was refused under it.

        Of those of the identity *owner* alone, so that no other sender's hides them; None: of all.
        """
        try:
            with self._engine.connect() as connection:
                return _status_rows(connection, request_id, owner)
        except DBAPIError as error:
            raise journal_error(self._path, error) from error

    def page(self, filters: Filters, limit: int, before: tuple[int, int] | None) -> list[StatusRows]:
        """Return the newest requests that fit, newest first; arguments as of `Search.find`."""
        with Search(self._path) as search:
            rows = search.find(filters, limit, before=before)
        try:
            with self._engine.connect() as connection:
                found = {row["id"]: row for row in read_rows(connection, _by_row(rows))}
                # One that was pruned between the two reads is not there any more.
                return [_with_parts(connection, found[row]) for row in rows if row in found]
        except DBAPIError as error:
            raise journal_error(self._path, error) from error

    def backlog(self) -> OpenCounts:
        """Count what is open."""
        try:
            with self._engine.connect() as connection:
                return _backlog(connection)
        except DBAPIError as error:
            raise journal_error(self._path, error) from error


def _status_rows(connection: Connection, request_id: str, owner: str | None) -> StatusRows | None:
    own = [] if owner is None else [owned_by(owner)]
    newest = (
        select(requests)
        .where(has_id(request_id), *own)
        .order_by(requests.c.holds_id.desc(), requests.c.id.desc())
        .limit(1)
    )
    found = read_rows(connection, newest)
    return _with_parts(connection, found[0]) if found else None


def _by_row(rows: Sequence[int]) -> Select[tuple[object, ...]]:
    return select(requests).where(requests.c.id.in_(rows))


def _with_parts(connection: Connection, request: Row) -> StatusRows:
    arrived = select(deliveries).where(deliveries.c.request == request["id"]).order_by(deliveries.c.id)
    begun = (
        select(
            starts,
            runs.c.result,
            runs.c.node,
            runs.c.started_at,
            runs.c.stopped_at,
            runs.c.duration_ms,
            runs.c.message,
        )
        .outerjoin(runs, starts.c.run == runs.c.id)
        .where(starts.c.request == request["id"])
        .order_by(starts.c.id)
    )
    return StatusRows(
        request,
        tuple(read_rows(connection, arrived)),
        tuple(read_rows(connection, begun)),
        held_requests.holds(connection, request["id"]),
        tuple(stage_rows.of_requests(connection, [request["id"]])),
    )


def _backlog(connection: Connection) -> OpenCounts:
    opened, first = connection.execute(
        select(func.count(), func.min(requests.c.id))
        .select_from(requests)
        .where(IS_OPEN, held_requests.not_held())
    ).one()
    # Ids are given in order of arrival, so that the oldest need not be searched for.
    oldest = None
    if first is not None:
        oldest = connection.execute(select(requests.c.received_at).where(requests.c.id == first)).scalar()
    waiting, dead_letters = (
        connection.execute(select(func.count()).select_from(outbox).where(condition)).scalar_one()
        for condition in (outbox.c.quarantined_at.is_(None), held_requests.is_dead_letter())
    )
    executing = connection.execute(
        select(func.count()).select_from(runs).where(text("state = 'executing'"))
    ).scalar_one()
    return OpenCounts(opened, oldest, waiting, dead_letters, executing)
