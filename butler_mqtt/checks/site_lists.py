"""Checks this site's lists of tasks: numbers, forms, kinds, names, statuses, rights; reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.domain.model import ExecutionStatus, TaskType
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_count import KINDS
from butler_mqtt.qrs.transport import HttpAnswer

#: How a line begins: whether an assumption holds here.
HOLDS, FAILS, UNKNOWN_HERE = "holds", "does not hold", "not known"
#: Tasks whose rights are read.
MANY = 100
#: The right that starting a task is assumed to need.
_UPDATE = "update"

Rows = Sequence[dict[str, Any]]


class ReadJson(Protocol):
    """Reads /qrs*path*; *query* is encoded already. GET only."""

    def __call__(self, path: str, query: str = "") -> HttpAnswer:
        """Return the answer, whatever its status."""
        ...


def check(read: ReadJson, rows: Rows) -> Iterator[Finding]:
    """Check the list of all tasks, *rows*."""
    counted = count(read)
    total = counted if isinstance(counted, int) else None
    yield _count(counted)
    yield _lists(rows, total)
    yield _form(read, rows)
    yield _kinds(rows)
    yield _names(rows)
    yield _statuses(rows)
    yield _start_right(read, rows)


def rows_of(answer: HttpAnswer) -> list[dict[str, Any]] | None:
    """Return the objects of a list, None when the answer is none."""
    value = _value(answer)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else None


def number_of(answer: HttpAnswer) -> int | None:
    """Return the number of a count, None when the answer is none."""
    return json_fields.number(json_fields.part(_value(answer), "value"))


def _value(answer: HttpAnswer) -> object:
    if answer.status != 200:
        return None
    try:
        value: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return value


def count(read: ReadJson) -> int | str:
    """Count the tasks by kind, a kind that the server lacks as 0; else what was answered instead."""
    total = lacking = 0
    for kind in KINDS:
        answer = read(f"/{kind}/count")
        number = number_of(answer)
        if number is None and answer.status != 404:
            return f"/{kind}/count is answered with {answer.status if answer.status != 200 else 'no number'}"
        lacking += number is None
        total += number or 0
    return total if lacking < len(KINDS) else "each is answered with 404"


def _count(counted: int | str) -> Finding:
    if isinstance(counted, int):
        return ok("site.count", f"{HOLDS}: tasks can be counted by kind ({counted})")
    return warning(
        "site.count",
        f"{FAILS}: tasks can be counted by kind; {counted}",
        "the daemon works without; a list that the server cuts is then not noticed, so check that "
        "MaxRecordLimit of the Repository Service is above the number of tasks",
    )


def _lists(rows: Rows, total: int | None) -> Finding:
    if total is None:
        return ok("site.lists", f"{UNKNOWN_HERE} whether lists are complete: tasks cannot be counted")
    if len(rows) < total:
        return warning(
            "site.lists",
            f"{FAILS}: lists are complete; the server shows {len(rows)} of {total} tasks",
            "the daemon reads the rest; raise MaxRecordLimit there if requests select many tasks",
        )
    return ok("site.lists", f"{HOLDS}: lists are complete: {len(rows)} of {total} tasks")


def _form(read: ReadJson, rows: Rows) -> Finding:
    if not rows:
        return ok("site.form", f"{UNKNOWN_HERE} in which form tasks are listed: the user sees none")
    if all(json_fields.shows_everything(row) for row in rows):
        return ok("site.form", f"{HOLDS}: /task/full lists tasks with tags and custom properties")
    concrete = [rows_of(read(f"/{kind}/full")) or [] for kind in KINDS]
    if any(json_fields.shows_everything(row) for found in concrete for row in found):
        return ok(
            "site.form",
            f"{FAILS}: /task/full lists tasks with tags and custom properties; the concrete lists are read "
            "as well",
        )
    return warning(
        "site.form",
        f"{FAILS}: a list of tasks shows tags and custom properties; none does",
        "requests by tag or custom property find nothing here: name tasks by taskId or taskName",
    )


def _kinds(rows: Rows) -> Finding:
    unusable = sum(
        json_fields.guid(row.get("id")) is None or not json_fields.text(row.get("name")) for row in rows
    )
    if unusable:
        return warning(
            "site.taskTypes",
            f"{FAILS}: each task has an id and a name; {unusable} of {len(rows)} tasks lack one",
            "the daemon cannot start those: check them in the Qlik Management Console",
        )
    found = Counter(json_fields.number(row.get("taskType")) for row in rows)
    known = {kind.value: kind.name.lower().replace("_", " ") for kind in TaskType}
    types = ", ".join(
        f"{count} {known.get(kind, f'of type {kind}') if kind is not None else 'without a type'}"
        for kind, count in found.most_common()
    )
    if set(found) <= set(known):
        return ok(
            "site.taskTypes", f"{HOLDS}: each task has an id, a name and a known type: {types or 'none'}"
        )
    return warning(
        "site.taskTypes",
        f"{FAILS}: each task has a known type: {types}",
        "tasks of other types are started without an execution id, so their ends are not reported",
    )


def _names(rows: Rows) -> Finding:
    found = Counter(name for row in rows if (name := json_fields.text(row.get("name"))))
    several = [name for name, count in found.most_common() if count > 1]
    if several:
        return ok(
            "site.names",
            f"{HOLDS}: names need not be unique; {len(several)} belong to more than one task, e.g. "
            f"{several[0]!r}: selected by taskName they are refused",
        )
    return ok("site.names", f"{UNKNOWN_HERE} whether names may repeat: each belongs to one task here")


def _statuses(rows: Rows) -> Finding:
    shown = [
        json_fields.number(json_fields.part(row, "operational", "lastExecutionResult", "status"))
        for row in rows
    ]
    found = {status for status in shown if status is not None}
    if not found:
        return ok("site.statuses", f"{UNKNOWN_HERE} which statuses executions have: no task shows one")
    unknown = sorted(found - {status.value for status in ExecutionStatus})
    if not unknown:
        listed = ", ".join(map(str, sorted(found)))
        return ok("site.statuses", f"{HOLDS}: the statuses of last executions are known ones: {listed}")
    return warning(
        "site.statuses",
        f"{FAILS}: the statuses of last executions are known ones; {', '.join(map(str, unknown))} is not",
        "such an execution counts as running until its session has ended: report the number",
    )


def _start_right(read: ReadJson, rows: Rows) -> Finding:
    name = "site.startRight"
    ids = [identity for row in rows if (identity := json_fields.guid(row.get("id"))) is not None][:MANY]
    if not ids:
        return ok(name, f"{UNKNOWN_HERE} whether the user may start tasks: it sees none")
    query = f"privileges=true&filter={filters.encode(filters.any_of('id', ids))}"
    shown = [
        row for row in rows_of(read("/task/full", query)) or [] if isinstance(row.get("privileges"), list)
    ]
    if not shown:
        return ok(
            name, f"{UNKNOWN_HERE} whether the user may start tasks: the server does not show its rights"
        )
    lacking = [row for row in shown if _UPDATE not in {str(one).lower() for one in row["privileges"]}]
    if not lacking:
        return ok(name, f"the user has {_UPDATE}, which a start is assumed to need, on {len(shown)} tasks")
    text = (
        f"the user lacks {_UPDATE}, which a start is assumed to need, on {len(lacking)} of {len(shown)} "
        f"tasks, e.g. {json_fields.text(lacking[0].get('name'), 100)!r}"
    )
    user = "the user (of X-Qlik-User or the token)"
    advice = f"give {user} {_UPDATE} on the tasks that it is to start (docs/security.md)"
    if len(lacking) < len(shown):
        return warning(name, text, advice)
    return wrong(name, text, f"{advice}, or prove by butler-mqtt start --task-id that one starts without")
