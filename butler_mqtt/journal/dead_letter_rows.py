"""The rows of the outbox that the broker will not take."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from butler_mqtt.journal.held_requests import set_aside as is_set_aside
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.tables import outbox


def set_aside(connection: Connection, rows: Collection[int]) -> Sequence[Row]:
    """Give those of these rows that are set aside, oldest first."""
    query = select(outbox).where(outbox.c.id.in_(rows), is_set_aside())
    return [dict(row) for row in connection.execute(query.order_by(outbox.c.id)).mappings()]
