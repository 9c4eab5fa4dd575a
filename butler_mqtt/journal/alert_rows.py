"""Alerts in the journal: what the daemon goes on with, and what operators list."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from butler_mqtt.journal.sqlite import reading
from butler_mqtt.journal.tables import alert_conditions, alert_tasks, alerts, overdue_tasks

#: One row, by column names.
AlertRow = Mapping[str, Any]


def kept(connection: Connection) -> Sequence[AlertRow]:
    """Return the alerts that wait or were sent lately, oldest first; those set aside are not among them."""
    query = select(alerts).where(alerts.c.quarantined_at.is_(None)).order_by(alerts.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def listed(connection: Connection) -> Sequence[AlertRow]:
    """Return the alerts that wait or were set aside, oldest first."""
    query = select(alerts).where(alerts.c.sent_at.is_(None)).order_by(alerts.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def in_file(path: Path) -> Sequence[AlertRow]:
    """Return what `listed` does of the journal at *path*; raises JournalError."""
    with reading(path) as connection:
        return listed(connection)


def set_aside(connection: Connection, rows: Collection[int]) -> Sequence[AlertRow]:
    """Return those of these rows that were set aside, oldest first."""
    query = select(alerts).where(alerts.c.quarantined_at.isnot(None), alerts.c.id.in_(rows))
    return [dict(row) for row in connection.execute(query.order_by(alerts.c.id)).mappings()]


def conditions(connection: Connection) -> Sequence[AlertRow]:
    """Return what is wrong at present."""
    return [dict(row) for row in connection.execute(select(alert_conditions)).mappings()]


def tasks(connection: Connection) -> Sequence[AlertRow]:
    """Return what alerts say of tasks."""
    return [dict(row) for row in connection.execute(select(alert_tasks)).mappings()]


def overdue(connection: Connection) -> Sequence[AlertRow]:
    """Return the tasks of `alerts.overdue`."""
    return [dict(row) for row in connection.execute(select(overdue_tasks)).mappings()]
