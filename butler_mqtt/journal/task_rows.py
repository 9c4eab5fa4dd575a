"""
What the journal knows of tasks: their names and their last starts; never writes.

Tasks are found by jumping from one to the next in an index, and of each only its last
starts are read, so that the cost depends on the number of tasks and not on that of requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, text

from butler_mqtt.domain.senders import owns
from butler_mqtt.journal.queries import NOT_PLANNED, Row, read_rows
from butler_mqtt.journal.sqlite import reading
from butler_mqtt.journal.tables import requests, runs, starts

#: Starts of a task that are read: those that a tag is looked for in, and that say what is usual.
LAST_STARTS = 20
#: Starts of a task among which those of one sender are looked for, so that a page costs the same for all.
OWN_AMONG = 200

_OF_START = ("request", "task_name", "kinds", "state", "run", "execution_id", "code")

#: Distinct tasks by jumping from one to the next, each with the name that it had when it was seen last.
NAMES = text(
    "WITH RECURSIVE each(id) AS (SELECT min(task_id) FROM starts WHERE state <> 'planned' UNION ALL "
    "SELECT (SELECT min(task_id) FROM starts WHERE task_id > each.id AND state <> 'planned') "
    "FROM each WHERE id IS NOT NULL) "
    "SELECT id, (SELECT task_name FROM starts WHERE task_id = each.id AND state <> 'planned' "
    "ORDER BY request DESC LIMIT 1) FROM each WHERE id IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class TaskRows:
    """
    One task with its last starts, the newest first.

    Each start has what its run and its request say of it.
    """

    task_id: str
    name: str
    starts: tuple[Row, ...]


def page(
    path: Path, limit: int, *, tag: str | None, after: str | None, owner: str | None = None
) -> list[TaskRows] | None:
    """
    Return tasks in the order of their names.

    Args:
        path: The journal.
        limit: How many at most.
        tag: Only those that a request which named this tag selected, among their last starts.
        after: Only those behind the task of this id.
        owner: Only what requests of this identity started, among the last 200 starts of each task.

    Returns:
        None when no such task has the id *after*.

    Raises:
        JournalError: The journal cannot be read.
    """
    with reading(path) as connection:
        names: dict[str, str] = dict(connection.execute(NAMES).all())
        if after is not None and (after not in names or not _last_starts(connection, after, owner)):
            return None
        ordered = sorted(names, key=lambda task: _place(task, names))
        if after is not None:
            ordered = ordered[ordered.index(after) + 1 :]
        found: list[TaskRows] = []
        for rows in _each(connection, ordered, names, owner):
            if len(found) == limit:
                break
            if owner is not None and not rows.starts:
                continue
            if tag is None or any(_names_tag(start, tag) for start in rows.starts):
                found.append(rows)
        return found


def of_tasks(connection: Connection, task_ids: Sequence[str]) -> dict[str, TaskRows]:
    """Return these tasks by their ids, those that the journal knows."""
    found = (TaskRows(task, "", _last_starts(connection, task)) for task in task_ids)
    return {
        one.task_id: TaskRows(one.task_id, one.starts[0]["task_name"], one.starts)
        for one in found
        if one.starts
    }


def _place(task: str, names: dict[str, str]) -> tuple[str, str]:
    return names[task].casefold(), task


def _each(
    connection: Connection, tasks: Sequence[str], names: dict[str, str], owner: str | None
) -> Iterator[TaskRows]:
    for task in tasks:
        yield TaskRows(task, names[task], _last_starts(connection, task, owner))


def _last_starts(connection: Connection, task_id: str, owner: str | None = None) -> tuple[Row, ...]:
    query = (
        select(
            *(starts.c[name] for name in _OF_START),
            runs.c.state.label("run_state"),
            runs.c.result,
            runs.c.node,
            runs.c.started_at,
            runs.c.stopped_at,
            runs.c.duration_ms,
            runs.c.message,
            runs.c.ended_at,
            requests.c.request_id,
            requests.c.received_at,
            requests.c.tags,
            requests.c.identity,
        )
        .join(requests, requests.c.id == starts.c.request)
        .outerjoin(runs, runs.c.id == starts.c.run)
        .where(starts.c.task_id == task_id, NOT_PLANNED)
        .order_by(starts.c.request.desc())
        .limit(LAST_STARTS if owner is None else OWN_AMONG)
    )
    rows = read_rows(connection, query)
    if owner is not None:
        rows = [row for row in rows if owns(owner, row["identity"])][:LAST_STARTS]
    return tuple(rows)


def _names_tag(start: Row, tag: str) -> bool:
    """Return whether a tag led to a start: its request names it, and selected the task by a tag."""
    if not start["tags"] or not any(kind.startswith("tag") for kind in start["kinds"].split(",")):
        return False
    named = json.loads(start["tags"])
    wanted = tag.casefold()
    return any(one.casefold() == wanted for one in (named if isinstance(named, list) else [named]))
