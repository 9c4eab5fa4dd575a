"""
Parameters in the journal: namespaces, each with keys and their values.

The writing functions work within the daemon's own transaction. `ParameterReader`
reads for callers of the REST API, beside the writer. A key that has expired counts
as deleted; its row goes with the next key that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, or_, select
from sqlalchemy.exc import DBAPIError

from butler_mqtt.journal.sqlite import reading_engine
from butler_mqtt.journal.sqlite_errors import journal_error
from butler_mqtt.journal.tables import parameter_namespaces, parameters

_Found = TypeVar("_Found")

#: Expired keys that storing one removes at most, so that no turn is held up.
REMOVED_AT_ONCE = 100

_KEY = """
    SELECT id FROM parameters WHERE namespace = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_EXPIRED = """
    DELETE FROM parameters WHERE id IN (
      SELECT id FROM parameters WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
_IDLE_KEYS = """
    DELETE FROM parameters WHERE expires_at <= ? AND namespace NOT IN (
      SELECT namespace FROM parameters WHERE expires_at IS NULL OR expires_at > ?)
"""
_IDLE = "DELETE FROM parameter_namespaces WHERE id NOT IN (SELECT namespace FROM parameters)"
_STORE = """
    INSERT INTO parameters (namespace, key, value, expires_at)
    SELECT id, ?2, ?3, ?4 FROM parameter_namespaces WHERE name = ?1
    ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
"""


# The statements go to the driver without SQLAlchemy, whose work for each would be most of a change.


def namespace_id(connection: Connection, namespace: str) -> int | None:
    """Return the row of a namespace, None for an unknown one."""
    return _number(connection, "SELECT id FROM parameter_namespaces WHERE name = ?", namespace)


def count_namespaces(connection: Connection) -> int:
    """Count the namespaces."""
    return _number(connection, "SELECT count(*) FROM parameter_namespaces") or 0


def count_keys(connection: Connection, row: int) -> int:
    """Count the keys of the namespace *row*, those that have expired since they were last removed too."""
    return _number(connection, "SELECT count(*) FROM parameters WHERE namespace = ?", row) or 0


def has_key(connection: Connection, row: int, key: str, now: int) -> bool:
    """Return whether the namespace *row* has *key*; *now* in milliseconds since 1970."""
    return _number(connection, _KEY, row, key, now) is not None


def remove_expired(connection: Connection, now: int) -> None:
    """Remove some of the keys that have expired, the oldest first."""
    _change(connection, _EXPIRED, now, REMOVED_AT_ONCE)


def remove_expired_of(connection: Connection, row: int, now: int) -> None:
    """Remove the keys of the namespace *row* that have expired."""
    _change(connection, "DELETE FROM parameters WHERE namespace = ? AND expires_at <= ?", row, now)


def remove_idle_namespaces(connection: Connection, now: int) -> None:
    """Remove namespaces without a key that lasts, with the keys that have expired."""
    _change(connection, _IDLE_KEYS, now, now)
    _change(connection, _IDLE)


def store(
    connection: Connection, namespace: str, key: str, value: str, *, expires_at: int | None, now: int
) -> None:
    """Store a value, in place of one before; times in milliseconds since 1970."""
    remove_expired(connection, now)
    _change(
        connection, "INSERT INTO parameter_namespaces (name) VALUES (?) ON CONFLICT DO NOTHING", namespace
    )
    _change(connection, _STORE, namespace, key, value, expires_at)


def delete_key(connection: Connection, row: int, key: str, now: int) -> bool:
    """Delete a key of the namespace *row*; return whether it was there."""
    was_there = has_key(connection, row, key, now)
    _change(connection, "DELETE FROM parameters WHERE namespace = ? AND key = ?", row, key)
    return was_there


def delete_namespace(connection: Connection, row: int) -> None:
    """Delete the namespace *row* with its keys."""
    _change(connection, "DELETE FROM parameters WHERE namespace = ?", row)
    _change(connection, "DELETE FROM parameter_namespaces WHERE id = ?", row)


def _number(connection: Connection, query: str, *values: str | int) -> int | None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query, values)
        found = cursor.fetchone()
        return None if found is None else int(found[0])
    finally:
        cursor.close()


def _change(connection: Connection, statement: str, *values: str | int | None) -> None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement, values)
    finally:
        cursor.close()


class ParameterReader:
    """
    Reads the parameters of the journal at *path*, also while it is being written; thread-safe.

    Its methods raise JournalError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = reading_engine(path)

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces, the oldest first."""
        names = select(parameter_namespaces.c.name).order_by(parameter_namespaces.c.id)
        return self._read(lambda connection: list(connection.execute(names).scalars()))

    def keys(self, namespace: str, now: int) -> list[str] | None:
        """Return the keys of a namespace, the oldest first; None when there is no such namespace."""

        def read(connection: Connection) -> list[str] | None:
            row = namespace_id(connection, namespace)
            if row is None:
                return None
            keys = select(parameters.c.key).where(parameters.c.namespace == row, _lasting(now))
            return list(connection.execute(keys.order_by(parameters.c.id)).scalars())

        return self._read(read)

    def value(self, namespace: str, key: str, now: int) -> tuple[bool, str | None]:
        """Return whether the namespace exists, and the value of its *key*, None without one."""

        def read(connection: Connection) -> tuple[bool, str | None]:
            row = namespace_id(connection, namespace)
            return (False, None) if row is None else (True, _value(connection, row, key, now))

        return self._read(read)

    def _read(self, query: Callable[[Connection], _Found]) -> _Found:
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            raise journal_error(self._path, error) from error


def _value(connection: Connection, row: int, key: str, now: int) -> str | None:
    found = select(parameters.c.value).where(
        parameters.c.namespace == row, parameters.c.key == key, _lasting(now)
    )
    return connection.execute(found).scalar()


def _lasting(now: int) -> ColumnElement[bool]:
    return or_(parameters.c.expires_at.is_(None), parameters.c.expires_at > now)
