"""
One transaction's changes, gathered as rows and written many at a time.

A row that is inserted and changed within one transaction is written once, in
its last form. The statements go to the driver without SQLAlchemy, whose work
for each would be a third of all at a thousand requests a second, and each
takes many rows: at every step of a statement the driver lets other threads
run, and getting the interpreter back costs more than writing the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.engine.interfaces import DBAPICursor

from butler_mqtt.journal import tables

__all__ = ["Table", "Value", "WriteBatch"]

Value = str | int | bytes | bool | None

_Row = TypeVar("_Row")

#: Parents before children; deletions run the other way round.
_ORDER: Sequence[Table] = (
    tables.sessions,
    tables.requests,
    tables.stages,
    tables.deliveries,
    tables.runs,
    tables.starts,
    tables.outbox,
    tables.process_starts,
    tables.notes,
    tables.rule_filters,
    tables.rule_packets,
    tables.rule_windows,
    tables.rule_counts,
    tables.alerts,
    tables.alert_conditions,
    tables.alert_tasks,
    tables.overdue_tasks,
)

#: Rows of one statement, of which some may be empty; few sizes, so that the driver's cache holds all.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

# Names of tables and columns come from the program, never from outside.


@lru_cache(maxsize=512)
def _insert(table: Table, columns: tuple[str, ...], rows: int) -> str:
    values = f"VALUES {_marks(len(columns), rows)}"
    some = values if rows == 1 else f"SELECT * FROM ({values}) WHERE column1 IS NOT NULL"  # noqa: S608 -- see above
    return f"INSERT INTO {table.name} ({', '.join(columns)}) {some}"


@lru_cache(maxsize=512)
def _update(table: Table, columns: tuple[str, ...], rows: int) -> str:
    if rows == 1:
        changes = ", ".join(f"{name} = ?{place}" for place, name in enumerate(columns, 2))
        return f"UPDATE {table.name} SET {changes} WHERE id = ?1"  # noqa: S608 -- see above
    changes = ", ".join(f"{name} = changed.column{place}" for place, name in enumerate(columns, 2))
    return (
        f"UPDATE {table.name} SET {changes}"  # noqa: S608 -- see above
        f" FROM (VALUES {_marks(len(columns) + 1, rows)}) AS changed WHERE {table.name}.id = changed.column1"
    )


@lru_cache(maxsize=64)
def _delete(table: Table, rows: int) -> str:
    return f"DELETE FROM {table.name} WHERE id IN {_marks(rows, 1)}"  # noqa: S608 -- see above


def _marks(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


class WriteBatch:
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
        """Return the values that this batch sets on the row with the id *identity*."""
        return self._inserts[table].get(identity) or self._updates[table].get(identity) or {}

    def write(self, connection: Connection) -> None:
        """Run all changes on *connection*, within its transaction; raises what the driver raises."""
        cursor = connection.connection.cursor()
        # Updates first: an outcome frees the place in a unique index that the next intent takes.
        for table in _ORDER:
            if changed := self._updates.get(table):
                updates = _Groups()
                for identity, values in changed.items():
                    updates[tuple(values)].append((identity, *values.values()))
                _run(cursor, _update, table, updates)
        for table in _ORDER:
            if new := self._inserts.get(table):
                inserts = _Groups()
                for row in new.values():
                    inserts[tuple(row)].append(tuple(row.values()))  # the id first
                _run(cursor, _insert, table, inserts)
        for table in reversed(_ORDER):
            for gone, size in _parts(sorted(self._deletes.get(table, ()))):
                cursor.execute(_delete(table, size), [*gone, *[None] * (size - len(gone))])
        cursor.close()


class _Groups(defaultdict[tuple[str, ...], list[tuple[Value, ...]]]):
    """Rows by the columns that they set, in the order in which they first came."""

    def __init__(self) -> None:
        super().__init__(list)


def _run(
    cursor: DBAPICursor,
    statement: Callable[[Table, tuple[str, ...], int], str],
    table: Table,
    groups: _Groups,
) -> None:
    for columns, rows in groups.items():
        if len(rows) == 1:
            cursor.execute(statement(table, columns, 1), rows[0])
            continue
        for part, size in _parts(rows):
            values = list(chain.from_iterable(part))
            values += [None] * (len(part[0]) * (size - len(part)))
            cursor.execute(statement(table, columns, size), values)


def _parts(rows: Sequence[_Row]) -> Iterator[tuple[Sequence[_Row], int]]:
    """Cut *rows* into as few lists as the sizes allow; return each with the size of its statement."""
    for start in range(0, len(rows), _SIZES[-1]):
        part = rows[start : start + _SIZES[-1]]
        yield part, next(size for size in _SIZES if size >= len(part))
