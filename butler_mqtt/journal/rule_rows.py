"""What the journal has of rules: their filters, open windows, counts, and packets that may come again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from butler_mqtt.journal.queries import Row, read_rows
from butler_mqtt.journal.tables import rule_counts, rule_filters, rule_packets, rule_windows

#: All of a window but what its last message was: that may be large, and is read when the window ends.
_OF_WINDOW = (
    "id",
    "rule",
    "key",
    "settings",
    "first_at",
    "last_at",
    "first_moment",
    "last_moment",
    "count",
)


def filters(connection: Connection) -> Sequence[Row]:
    """Return the filters that the broker's session may have."""
    query = select(rule_filters).where(rule_filters.c.gone_at.is_(None))
    return read_rows(connection, query.order_by(rule_filters.c.id))


def packets(connection: Connection) -> Sequence[Row]:
    """Return the messages that a redelivery is compared with, oldest first."""
    return read_rows(connection, select(rule_packets).order_by(rule_packets.c.id))


def windows(connection: Connection) -> Sequence[Row]:
    """Return the open windows without their messages, oldest first."""
    columns = (rule_windows.c[name] for name in _OF_WINDOW)
    return read_rows(connection, select(*columns).order_by(rule_windows.c.id))


def window(connection: Connection, row: int) -> Row:
    """Return one window with its last message; empty when it is not on disk yet."""
    found = read_rows(connection, select(rule_windows).where(rule_windows.c.id == row))
    return found[0] if found else {}


def counts(connection: Connection) -> Sequence[Row]:
    """Return what became of the messages of each rule, by the time it was first seen."""
    return read_rows(connection, select(rule_counts).order_by(rule_counts.c.id))


def open_windows(connection: Connection) -> dict[str, int]:
    """Return how many windows of each rule are open, by its name; of rules that have some."""
    query = select(rule_windows.c.rule, func.count()).group_by(rule_windows.c.rule)
    return dict(connection.execute(query).all())
