"""
Checks how this Qlik site behaves where no documentation states it; reads only.

The daemon works either way: each line says whether an assumption holds here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from butler_mqtt.checks import site_lists
from butler_mqtt.checks.finding import Finding, ok, warning
from butler_mqtt.checks.site_lists import FAILS, HOLDS, UNKNOWN_HERE, ReadJson, Rows, rows_of
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_count import KINDS
from butler_mqtt.qrs.task_lists import NOT_UNDERSTOOD

#: Names that the shorthand can hold.
_PLAIN = re.compile(r"\w+")


def check(read: ReadJson) -> Iterator[Finding]:
    """Check each behaviour that can be seen without starting or changing anything."""
    rows = rows_of(read("/task/full"))
    if rows is None:
        # Other lines report the user's rights.
        return
    yield from site_lists.check(read, rows)
    path, properties = "task", _properties(rows)
    if not any(properties.values()):
        path = KINDS[0]
        properties = _properties(rows_of(read(f"/{path}/full")) or [])
    yield _pairing(read, path, properties)
    yield _shorthand(read, path, properties)
    yield _quotes(read)
    yield _long(read)
    yield _unknown(read)
    yield ok(
        "site.starts",
        f"{UNKNOWN_HERE} without a start: the empty GUID for a task that cannot start or runs already, "
        "404 for one that is unknown, "
        "no execution id for distribute and preload; the daemon works either way",
    )


def _properties(rows: Rows) -> dict[str, list[tuple[str, str]]]:
    """Return the custom properties of each task as (name, value), by its id."""
    return {task_id: _pairs(row) for row in rows if (task_id := json_fields.guid(row.get("id"))) is not None}


def _pairs(row: dict[str, Any]) -> list[tuple[str, str]]:
    values = row.get("customProperties") or []
    found = [(json_fields.part(one, "definition", "name"), json_fields.part(one, "value")) for one in values]
    return [(name, value) for name, value in found if isinstance(name, str) and isinstance(value, str)]


def _pairing(read: ReadJson, path: str, properties: dict[str, list[tuple[str, str]]]) -> Finding:
    """Query one property's name with another's value, which a task has on different objects."""
    for task_id, has in properties.items():
        for name, _ in has:
            value = next((value for _, value in has if (name, value) not in has), None)
            if value is None:
                continue
            text = (
                f"(id eq {task_id}) and (customProperties.definition.name eq {filters.literal(name)}"
                f" and customProperties.value eq {filters.literal(value)})"
            )
            rows = rows_of(read(f"/{path}/full", f"filter={filters.encode(text)}"))
            if rows is None:
                return ok("site.pairing", f"{UNKNOWN_HERE} how names and values pair: the query is refused")
            if rows:
                return ok(
                    "site.pairing",
                    f"{HOLDS}: a filter pairs a property's name with any value of the task: the daemon "
                    "compares again",
                )
            return ok(
                "site.pairing",
                f"{FAILS}: a filter pairs a property's name with any value of the task; both must be on "
                "the same object",
            )
    return ok("site.pairing", f"{UNKNOWN_HERE} how names and values pair: no task has two custom properties")


def _shorthand(read: ReadJson, path: str, properties: dict[str, list[tuple[str, str]]]) -> Finding:
    known = (
        (task_id, name, value)
        for task_id, has in properties.items()
        for name, value in has
        if _PLAIN.fullmatch(name)
    )
    task_id, name, value = next(known, ("", "", ""))
    if not name:
        return ok(
            "site.shorthand", f"{UNKNOWN_HERE} whether @Name is understood: no task has a custom property"
        )
    text = f"(id eq {task_id}) and (@{name} eq {filters.literal(value)})"
    answer = read(f"/{path}/full", f"filter={filters.encode(text)}")
    rows = rows_of(answer)
    if rows:
        return ok("site.shorthand", f"{HOLDS}: @Name in a filter is understood; the daemon does not need it")
    result = "finds nothing" if rows == [] else f"is answered with {answer.status}"
    return ok(
        "site.shorthand",
        f"{FAILS}: @Name in a filter is understood; it {result}, and the daemon does not need it",
    )


def _quotes(read: ReadJson) -> Finding:
    """Check whether quotes are escaped as elsewhere: a filter that matches no task must find none."""
    text = f"(tags.name eq {filters.literal(uuid.uuid4().hex + chr(39) + chr(92))})"
    answer = read("/task/full", f"filter={filters.encode(text)}")
    rows = rows_of(answer)
    if rows == []:
        return ok("site.quotes", f"{HOLDS}: quotes and backslashes in tags and values are understood")
    if rows:
        return warning(
            "site.quotes",
            f"{FAILS}: quotes in tags and values are understood; with one, tasks are found that do not match",
            "the daemon compares each again; still, avoid tags and values with a quote or a backslash",
        )
    text = f"(tags.name eq {filters.literal(uuid.uuid4().hex + chr(39), doubled=True)})"
    if (
        answer.status in NOT_UNDERSTOOD
        and rows_of(read("/task/full", f"filter={filters.encode(text)}")) == []
    ):
        return ok(
            "site.quotes",
            f"{FAILS}: a backslash escapes a quote in tags and values; it is doubled here, and so does the"
            " daemon; avoid a quote and a backslash in one of them",
        )
    return warning(
        "site.quotes",
        f"{FAILS}: quotes in tags and values are understood; one is answered with {answer.status}",
        "avoid tags and property values with a quote or a backslash",
    )


def _long(read: ReadJson) -> Finding:
    """Query as many tasks as the daemon does at once."""
    name = "site.longQueries"
    unknown = [str(uuid.uuid4()) for _ in range(filters.MAX_TERMS)]
    query = f"filter={filters.encode(filters.any_of('id', unknown))}"
    answer = read("/task/full", query)
    what = f"a query for {filters.MAX_TERMS} tasks, {len(query)} bytes long, is understood"
    if rows_of(answer) == []:
        return ok(name, f"{HOLDS}: {what}")
    result = "tasks that do not match" if answer.status == 200 else str(answer.status)
    if answer.status in NOT_UNDERSTOOD:
        return ok(
            name, f"{FAILS}: {what}; it is answered with {result}, and the daemon queries fewer at a time"
        )
    return warning(
        name,
        f"{FAILS}: {what}; it is answered with {result}",
        "requests that name many tasks fail: a proxy between may limit the length, use port 4242 directly",
    )


def _unknown(read: ReadJson) -> Finding:
    status = read(f"/reloadtask/{uuid.uuid4()}").status
    if status == 404:
        return ok("site.unknownTask", f"{HOLDS}: an id that no task has is answered with 404")
    return ok(
        "site.unknownTask", f"{FAILS}: an id that no task has is answered with 404; it is with {status}"
    )
