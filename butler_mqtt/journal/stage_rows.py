"""What the daemon reads of stages from its journal: each function one query."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select, text

from butler_mqtt.journal.held_requests import not_held
from butler_mqtt.journal.queries import Row, read_rows, starts_with_requests
from butler_mqtt.journal.tables import requests, stages, starts

_OPEN = select(stages.c.request).where(text("stages.state IN ('waiting', 'running')"))


def of_requests(connection: Connection, request_rows: Collection[int]) -> Sequence[Row]:
    """Return the stages of these requests, in their order."""
    query = select(stages).where(stages.c.request.in_(request_rows))
    return read_rows(connection, query.order_by(stages.c.request, stages.c.number))


def with_open_stages(connection: Connection) -> Sequence[Row]:
    """Return the requests of which a stage is not over."""
    query = select(requests).where(requests.c.id.in_(_OPEN), not_held())
    return read_rows(connection, query.order_by(requests.c.id))


def starts_of(connection: Connection, request_rows: Collection[int]) -> Sequence[Row]:
    """Return the starts of these requests, in the order decided, each with what it needs of its request."""
    return read_rows(connection, starts_with_requests().where(starts.c.request.in_(request_rows)))


def numbers(connection: Connection, request_rows: Collection[int]) -> Sequence[Row]:
    """Return id, request and stage of the starts of these requests, in the order decided."""
    query = select(starts.c.id, starts.c.request, starts.c.stage)
    return read_rows(connection, query.where(starts.c.request.in_(request_rows)).order_by(starts.c.id))
