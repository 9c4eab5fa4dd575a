"""
One transaction's changes, gathered as rows and written many at a time.

A row that is inserted and changed within one transaction is written once, in
its last form. Statements are made once for each set of columns and run by the
driver with `executemany`, without SQLAlchemy: at a thousand requests a second
its work for each statement would be a third of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from sqlalchemy import Connection, Table

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

# Names of tables and columns come from the program, never from outside.


@lru_cache(maxsize=256)
def _insert(table: Table, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 -- see above


@lru_cache(maxsize=256)
def _update(table: Table, columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE {table.name} SET {changes} WHERE id = ?"  # noqa: S608 -- see above


@lru_cache(maxsize=16)
def _delete(table: Table) -> str:
    return f"DELETE FROM {table.name} WHERE id = ?"  # noqa: S608 -- see above


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
        """Run all changes on *connection*, within its transaction; raises what the driver raises."""
        cursor = connection.connection.cursor()
        # Updates first: an outcome frees the place in a unique index that the next intent takes.
        for table in _ORDER:
            updates = _Groups()
            for identity, values in self._updates[table].items():
                updates[tuple(values)].append((*values.values(), identity))
            for columns, rows in updates.items():
                cursor.executemany(_update(table, columns), rows)
        for table in _ORDER:
            inserts = _Groups()
            for row in self._inserts[table].values():
                inserts[tuple(row)].append(tuple(row.values()))
            for columns, rows in inserts.items():
                cursor.executemany(_insert(table, columns), rows)
        for table in reversed(_ORDER):
            if self._deletes[table]:
                cursor.executemany(_delete(table), [(one,) for one in sorted(self._deletes[table])])
        cursor.close()


class _Groups(defaultdict[tuple[str, ...], list[tuple[Value, ...]]]):
    """Rows by the columns that they set, in the order in which they first came."""

    def __init__(self) -> None:
        super().__init__(list)
