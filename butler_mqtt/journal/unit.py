"""
One transaction's changes, gathered as rows and written many at a time.

A row that is inserted and changed within one transaction is written once, in
its last form. Statements are compiled by SQLAlchemy once for each set of
columns and then run with `executemany`: at a thousand requests a second the
per-statement cost of building them would be most of the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from sqlalchemy import Connection, Table, bindparam
from sqlalchemy.dialects import sqlite

from butler_mqtt.journal import tables

__all__ = ["Table", "Unit", "Value"]

Value = str | int | bytes | bool | None

#: Parents before children; deletions run the other way round.
_ORDER: Sequence[Table] = (
    tables.sessions,
    tables.requests,
    tables.deliveries,
    tables.runs,
    tables.starts,
    tables.outbox,
)

_DIALECT = sqlite.dialect(paramstyle="named")


@lru_cache(maxsize=256)
def _insert(table: Table, columns: tuple[str, ...]) -> str:
    return str(table.insert().compile(dialect=_DIALECT, column_keys=list(columns)))


@lru_cache(maxsize=256)
def _update(table: Table, columns: tuple[str, ...]) -> str:
    statement = (
        table.update()
        .where(table.c.id == bindparam("row_id"))
        .values({column: bindparam(f"new_{column}") for column in columns})
    )
    return str(statement.compile(dialect=_DIALECT))


@lru_cache(maxsize=16)
def _delete(table: Table) -> str:
    return str(table.delete().where(table.c.id == bindparam("row_id")).compile(dialect=_DIALECT))


class Unit:
    """Inserts, updates and deletions that shall become true together."""

    def __init__(self) -> None:
        self._inserts: dict[Table, dict[int, dict[str, Value]]] = defaultdict(dict)
        self._updates: dict[Table, dict[int, dict[str, Value]]] = defaultdict(dict)
        self._deletes: dict[Table, set[int]] = defaultdict(set)

    def __bool__(self) -> bool:
        return any(self._inserts.values()) or any(self._updates.values()) or any(self._deletes.values())

    def insert(self, table: Table, row: dict[str, Value]) -> None:
        """Add *row*, which holds its own `id`."""
        identity = row["id"]
        assert isinstance(identity, int)  # noqa: S101 -- narrows the type; ids are given by the program
        self._inserts[table][identity] = row

    def update(self, table: Table, identity: int, **values: Value) -> None:
        """Change columns of the row with the id *identity*."""
        pending = self._inserts[table].get(identity)
        if pending is None:
            pending = self._updates[table].setdefault(identity, {})
        pending.update(values)

    def delete(self, table: Table, identity: int) -> None:
        """Remove the row with the id *identity*."""
        if self._inserts[table].pop(identity, None) is None:
            self._updates[table].pop(identity, None)
            self._deletes[table].add(identity)

    def changed(self, table: Table, identity: int) -> Mapping[str, Value]:
        """Give the values that this unit sets on the row with the id *identity*."""
        return self._inserts[table].get(identity) or self._updates[table].get(identity) or {}

    def write(self, connection: Connection) -> None:
        """Run all changes on *connection*, within its transaction."""
        # Updates first: an outcome frees the place in a unique index that the next intent takes.
        for table in _ORDER:
            updates = (
                {"row_id": identity, **{f"new_{name}": value for name, value in values.items()}}
                for identity, values in self._updates[table].items()
            )
            for columns, rows in _by_columns(updates):
                names = tuple(name.removeprefix("new_") for name in columns if name != "row_id")
                connection.exec_driver_sql(_update(table, names), rows)
        for table in _ORDER:
            for columns, rows in _by_columns(self._inserts[table].values()):
                connection.exec_driver_sql(_insert(table, columns), rows)
        for table in reversed(_ORDER):
            if self._deletes[table]:
                gone = [{"row_id": identity} for identity in sorted(self._deletes[table])]
                connection.exec_driver_sql(_delete(table), gone)


def _by_columns(rows: Iterable[dict[str, Value]]) -> list[tuple[tuple[str, ...], list[dict[str, Value]]]]:
    groups: dict[tuple[str, ...], list[dict[str, Value]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.items())
