"""
Whole requests as the journal has them, with all that belongs to each, for operators.

`journal.status_rows` reads of one request what the REST API shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, or_, select

from butler_mqtt.journal.held_requests import HELD, RESTORED
from butler_mqtt.journal.queries import NOT_PLANNED, Row, planned, read_rows
from butler_mqtt.journal.tables import (
    deliveries,
    notes,
    outbox,
    process_starts,
    requests,
    runs,
    stages,
    starts,
)

#: Deliveries of one request that are read; one may have come any number of times.
MAX_DELIVERIES = 100
#: Bytes of a payload that are read, for a request that was not understood.
MAX_BEGIN = 400


@dataclass(frozen=True, slots=True)
class RequestRows:
    """
    All about one request, each part in the order in which it was written.

    Deliveries have the `size` of their payload in bytes, its `begin` of at most
    `MAX_BEGIN` bytes, and `total`, the count of all of them, of which the first
    `MAX_DELIVERIES` are here. `runs` are
    those its starts belong to, by id; `shared` are the ids of other requests
    that share a run, by its id; `messages` are its rows in the outbox. `notes`
    are about the request or one of its runs; `process_starts` are those of
    the daemon after the request; `stages` its stages, if it has any.
    """

    request: Row
    deliveries: tuple[Row, ...]
    starts: tuple[Row, ...]
    runs: dict[int, Row] = field(default_factory=dict)
    shared: dict[int, tuple[str, ...]] = field(default_factory=dict)
    messages: tuple[Row, ...] = ()
    notes: tuple[Row, ...] = ()
    process_starts: tuple[Row, ...] = ()
    stages: tuple[Row, ...] = ()

    @property
    def held(self) -> bool:
        """Return whether it is held since a backup was restored."""
        return any(note["kind"] == HELD for note in self.notes)

    @property
    def dead_letters(self) -> list[Row]:
        """Its messages that the broker does not take."""
        return [
            row for row in self.messages if row["quarantined_at"] is not None and row["reason"] != RESTORED
        ]


def read(connection: Connection, rows: Sequence[int]) -> list[RequestRows]:
    """Read whole requests, in the order of their ids."""
    opened = read_rows(connection, select(requests).where(requests.c.id.in_(rows)).order_by(requests.c.id))
    arrived = _by_request(connection, _deliveries(rows))
    begun = _by_request(connection, _of(starts, rows))
    messages = _by_request(connection, _of(outbox, rows))
    staged = _by_request(connection, _of(stages, rows))
    run_rows = {row["run"] for many in begun.values() for row in many if row["run"] is not None}
    posted = {row["id"]: row for row in read_rows(connection, select(runs).where(runs.c.id.in_(run_rows)))}
    shared = _shared(connection, run_rows)
    noted = _by_request(connection, _of(notes, rows))
    of_runs = defaultdict(list)
    for note in read_rows(connection, select(notes).where(notes.c.run.in_(run_rows)).order_by(notes.c.id)):
        of_runs[note["run"]].append(note)
    begun_since = min((row["received_at"] for row in opened), default=0)
    later = read_rows(
        connection,
        select(process_starts)
        .where(process_starts.c.began_at > begun_since)
        .order_by(process_starts.c.began_at),
    )
    requests_rows = []
    for row in opened:
        of_it = {start["run"] for start in begun[row["id"]]}
        requests_rows.append(
            RequestRows(
                row,
                tuple(arrived[row["id"]]),
                tuple(begun[row["id"]]),
                {run: posted[run] for run in of_it if run in posted},
                {
                    run: tuple(name for other, name in shared[run] if other != row["id"])
                    for run in of_it
                    if len(shared[run]) > 1
                },
                tuple(messages[row["id"]]),
                (*noted[row["id"]], *(note for run in sorted(of_it - {None}) for note in of_runs[run])),
                tuple(
                    process_start for process_start in later if process_start["began_at"] > row["received_at"]
                ),
                tuple(staged[row["id"]]),
            )
        )
    return requests_rows


def _of(table: Table, rows: Sequence[int]) -> Select[Any]:
    return select(table).where(table.c.request.in_(rows)).order_by(table.c.id)


def _deliveries(rows: Sequence[int]) -> Select[Any]:
    of_one = deliveries.c.request
    columns = [column for column in deliveries.c if column.name not in {"payload", "digest"}]
    numbered = (
        select(
            *columns,
            func.length(deliveries.c.payload).label("size"),
            func.substr(deliveries.c.payload, 1, MAX_BEGIN).label("begin"),
            func.row_number().over(order_by=deliveries.c.id, partition_by=of_one).label("number"),
            func.count().over(partition_by=of_one).label("total"),
        )
        .where(deliveries.c.request.in_(rows))
        .subquery()
    )
    return select(numbered).where(numbered.c.number <= MAX_DELIVERIES).order_by(numbered.c.id)


def _shared(connection: Connection, run_rows: set[int]) -> defaultdict[int, list[tuple[int, str]]]:
    """Return the requests that each of these runs serves, as row and id."""
    query = (
        select(starts.c.run, requests.c.id, requests.c.request_id)
        .join(requests, requests.c.id == starts.c.request)
        .where(or_(and_(starts.c.run.in_(run_rows), NOT_PLANNED), planned(starts.c.run.in_(run_rows))))
        .order_by(starts.c.id)
    )
    found: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for run, row, request_id in connection.execute(query):
        found[run].append((row, request_id))
    return found


def _by_request(connection: Connection, query: Select[Any]) -> defaultdict[int, list[Row]]:
    grouped: defaultdict[int, list[Row]] = defaultdict(list)
    for row in read_rows(connection, query):
        grouped[row["request"]].append(row)
    return grouped
