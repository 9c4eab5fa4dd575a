"""Queries for those who ask what became of a request; for other threads than the writer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from butler_mqtt.journal.store import journal_error, reading_engine
from butler_mqtt.journal.tables import deliveries, outbox, requests, runs, starts

Row = Mapping[str, Any]

_OPEN = ("received", "decided")


@dataclass(frozen=True, slots=True)
class Record:
    """A request with its deliveries and starts, in the order in which they were written."""

    request: Row
    deliveries: tuple[Row, ...]
    starts: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not done yet; `oldest_open` is in milliseconds since 1970, None when nothing is open."""

    open_requests: int
    oldest_open: int | None
    outbox: int
    quarantined: int
    executing: int


class History:
    """
    Reads the journal at *path*, also while it is being written; thread-safe.

    Its methods raise JournalError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine: Engine = reading_engine(path)

    def record(self, request_id: str) -> Record | None:
        """Give the request that holds *request_id*, else the newest that was refused under it."""
        try:
            with self._engine.connect() as connection:
                return _record(connection, request_id)
        except DBAPIError as error:
            raise journal_error(self._path, error) from error

    def backlog(self) -> Backlog:
        """Count what is open."""
        try:
            with self._engine.connect() as connection:
                return _backlog(connection)
        except DBAPIError as error:
            raise journal_error(self._path, error) from error


def _record(connection: Connection, request_id: str) -> Record | None:
    newest = (
        select(requests)
        .where(requests.c.request_id == request_id)
        .order_by(requests.c.holds_id.desc(), requests.c.id.desc())
        .limit(1)
    )
    request = connection.execute(newest).mappings().first()
    if request is None:
        return None
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
    return Record(
        dict(request),
        tuple(dict(row) for row in connection.execute(arrived).mappings()),
        tuple(dict(row) for row in connection.execute(begun).mappings()),
    )


def _backlog(connection: Connection) -> Backlog:
    count = func.count()
    # The condition is written as the partial index has it, or SQLite would read the whole table.
    opened = connection.execute(
        select(count, func.min(requests.c.received_at)).where(requests.c.state.in_(_OPEN))
    ).one()
    waiting = select(count).select_from(outbox)
    return Backlog(
        opened[0],
        opened[1],
        connection.execute(waiting.where(outbox.c.quarantined_at.is_(None))).scalar_one(),
        connection.execute(waiting.where(outbox.c.quarantined_at.isnot(None))).scalar_one(),
        connection.execute(select(count).select_from(runs).where(runs.c.state == "executing")).scalar_one(),
    )
