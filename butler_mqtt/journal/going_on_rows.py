"""What goes on, as the page shows it: executions, starts that wait, requests without a decision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from butler_mqtt.journal import task_rows
from butler_mqtt.journal.held_requests import not_held
from butler_mqtt.journal.queries import BY_ID, IS_OPEN, NOT_PLANNED, Row, read_rows
from butler_mqtt.journal.sqlite import reading
from butler_mqtt.journal.tables import deliveries, requests, runs, starts
from butler_mqtt.journal.task_rows import TaskRows

#: Rows of each kind that are read: what a person reads; the counts are of all.
MOST = 100


@dataclass(frozen=True, slots=True)
class GoingOnRows:
    """
    Rows of each kind, the oldest first, and how many there are.

    Starts have what their request says of itself, those that run also `started_at` and
    `intended_at` of their run. `tasks` are the tasks that run, by their ids. `behind` are the
    requests whose executions others wait for, by the execution, each with the name of its task.
    """

    running: list[Row]
    waiting: list[Row]
    opened: list[Row]
    running_count: int
    waiting_count: int
    opened_count: int
    tasks: dict[str, TaskRows]
    behind: dict[str, tuple[str, str]]


_OF_REQUEST = tuple(
    requests.c[name]
    for name in ("request_id", "sender", "identity", "rule", "door", "received_at", "document")
)
_PRINCIPAL = (
    select(deliveries.c.principal)
    .where(deliveries.c.request == requests.c.id)
    .order_by(deliveries.c.id)
    .limit(1)
    .scalar_subquery()
    .label("principal")
)
_EXECUTING = text("runs.state = 'executing'")
_WAITING = text("starts.state = 'waiting'")


def read(path: Path) -> GoingOnRows:
    """Read what goes on; raises JournalError."""
    with reading(path) as connection:
        running = _running(connection)
        waiting = _waiting(connection)
        opened = read_rows(
            connection,
            select(requests, _PRINCIPAL).where(IS_OPEN, not_held()).order_by(BY_ID).limit(MOST),
        )
        executing, waiting_count, undecided = (
            connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
            for table, conditions in (
                (runs, (_EXECUTING,)),
                (starts, (_WAITING,)),
                (requests, (IS_OPEN, not_held())),
            )
        )
        return GoingOnRows(
            running,
            waiting,
            opened,
            executing,
            waiting_count,
            undecided,
            task_rows.of_tasks(connection, sorted({row["task_id"] for row in running})),
            _behind(connection, {row["behind"] for row in waiting if row["behind"]}),
        )


def _running(connection: Connection) -> list[Row]:
    executing = select(runs.c.id).where(_EXECUTING).order_by(runs.c.id).limit(MOST)
    query = (
        select(starts, runs.c.started_at, runs.c.intended_at, *_OF_REQUEST, _PRINCIPAL)
        .join(requests, requests.c.id == starts.c.request)
        .join(runs, runs.c.id == starts.c.run)
        .where(NOT_PLANNED, starts.c.run.in_(executing), starts.c.state == "running")
        .order_by(starts.c.id)
    )
    return read_rows(connection, query)


def _waiting(connection: Connection) -> list[Row]:
    query = (
        select(starts, *_OF_REQUEST)
        .join(requests, requests.c.id == starts.c.request)
        .where(_WAITING)
        .order_by(text("+starts.id"))
        .limit(MOST)
    )
    return read_rows(connection, query)


def _behind(connection: Connection, executions: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the request and the task of each execution that the journal knows."""
    query = (
        select(runs.c.execution_id, requests.c.request_id, starts.c.task_name)
        .join(starts, starts.c.run == runs.c.id)
        .join(requests, requests.c.id == starts.c.request)
        .where(runs.c.execution_id.in_(executions), NOT_PLANNED)
    )
    return {execution: (request_id, name) for execution, request_id, name in connection.execute(query)}
