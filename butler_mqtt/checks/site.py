"""
Tells how this Qlik site behaves where no documentation says it; reads only.

The daemon manages either way: the lines show which way it goes here.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from butler_mqtt.checks.finding import Finding, ok, warning
from butler_mqtt.qrs import filters, wire
from butler_mqtt.qrs.lists import KINDS
from butler_mqtt.qrs.transport import Answer

_UNTOLD = "cannot be told"
#: What the shorthand can name.
_PLAIN = re.compile(r"\w+")


class Read(Protocol):
    """Reads /qrs*path*; *query* is encoded already. Nothing but GET."""

    def __call__(self, path: str, query: str = "") -> Answer:
        """Give the answer, whatever its status."""
        ...


def check(read: Read) -> Iterator[Finding]:
    """Try each behaviour that can be seen without starting or changing anything."""
    rows = _rows(read("/task/full"))
    if rows is None:
        # The user's rights are a matter of other lines.
        return
    yield _lists(read, rows)
    yield _form(read, rows)
    path, properties = "task", _properties(rows)
    if not any(properties.values()):
        path = KINDS[0]
        properties = _properties(_rows(read(f"/{path}/full")) or [])
    yield _pairing(read, path, properties)
    yield _shorthand(read, path, properties)
    yield _quotes(read)
    yield _unknown(read)


def _properties(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Give the custom properties of each task as (name, value), by its id."""
    return {task_id: _pairs(row) for row in rows if (task_id := wire.guid(row.get("id"))) is not None}


def _pairs(row: dict[str, Any]) -> list[tuple[str, str]]:
    values = row.get("customProperties") or []
    found = [(wire.part(one, "definition", "name"), wire.part(one, "value")) for one in values]
    return [(name, value) for name, value in found if isinstance(name, str) and isinstance(value, str)]


def _lists(read: Read, rows: Sequence[dict[str, Any]]) -> Finding:
    total = wire.number(wire.part(_value(read("/task/count")), "value"))
    if total is None:
        return warning(
            "site.lists",
            "tasks cannot be counted",
            "a list that the server cuts would not be noticed: give the user in X-Qlik-User read on tasks",
        )
    if len(rows) < total:
        return warning(
            "site.lists",
            f"the server cuts lists: it shows {len(rows)} of {total} tasks",
            "the daemon asks again for the rest; raise MaxRecordLimit there if requests mean many tasks",
        )
    return ok("site.lists", f"lists come whole: {len(rows)} of {total} tasks")


def _form(read: Read, rows: Sequence[dict[str, Any]]) -> Finding:
    if not rows:
        return ok("site.form", f"{_UNTOLD} in which form tasks are listed: the user sees none")
    if all(wire.shows_everything(row) for row in rows):
        return ok("site.form", "/task/full lists tasks with tags and custom properties")
    concrete = [_rows(read(f"/{kind}/full")) or [] for kind in KINDS]
    if any(wire.shows_everything(row) for found in concrete for row in found):
        return ok(
            "site.form", "/task/full lacks tags or custom properties: the concrete lists are read as well"
        )
    return warning(
        "site.form",
        "no list of tasks shows tags and custom properties",
        "requests by tag or custom property find nothing here: name tasks by taskId or taskName",
    )


def _pairing(read: Read, path: str, properties: dict[str, list[tuple[str, str]]]) -> Finding:
    """Ask for one property's name with another's value, which a task has on different objects."""
    for task_id, has in properties.items():
        for name, _ in has:
            value = next((value for _, value in has if (name, value) not in has), None)
            if value is None:
                continue
            text = (
                f"(id eq {task_id}) and (customProperties.definition.name eq {filters.literal(name)}"
                f" and customProperties.value eq {filters.literal(value)})"
            )
            rows = _rows(read(f"/{path}/full", f"filter={filters.encode(text)}"))
            if rows is None:
                return ok("site.pairing", f"{_UNTOLD} how names and values pair: the question is refused")
            if rows:
                return ok(
                    "site.pairing",
                    "the server pairs a property's name with any value of the task: the daemon looks again",
                )
            return ok("site.pairing", "name and value of a custom property must stand on the same object")
    return ok("site.pairing", f"{_UNTOLD} how names and values pair: no task has two custom properties")


def _shorthand(read: Read, path: str, properties: dict[str, list[tuple[str, str]]]) -> Finding:
    known = (
        (task_id, name, value)
        for task_id, has in properties.items()
        for name, value in has
        if _PLAIN.fullmatch(name)
    )
    task_id, name, value = next(known, ("", "", ""))
    if not name:
        return ok("site.shorthand", f"{_UNTOLD} whether @Name is understood: no task has a custom property")
    text = f"(id eq {task_id}) and (@{name} eq {filters.literal(value)})"
    answer = read(f"/{path}/full", f"filter={filters.encode(text)}")
    rows = _rows(answer)
    if rows:
        return ok("site.shorthand", "@Name in a filter is understood; the daemon does not need it")
    told = "finds nothing" if rows == [] else f"is answered with {answer.status}"
    return ok("site.shorthand", f"@Name in a filter {told}; the daemon does not need it")


def _quotes(read: Read) -> Finding:
    """See whether quotes are escaped here as everywhere: a filter that means no task must find none."""
    text = f"(tags.name eq {filters.literal(uuid.uuid4().hex + chr(39) + chr(92))})"
    answer = read("/task/full", f"filter={filters.encode(text)}")
    rows = _rows(answer)
    if rows == []:
        return ok("site.quotes", "quotes and backslashes in tags and values are understood")
    if rows:
        return warning(
            "site.quotes",
            "a filter with a quote finds tasks that do not fit: the server reads it otherwise",
            "the daemon looks again at each; avoid tags and values with a quote or a backslash all the same",
        )
    return warning(
        "site.quotes",
        f"a quote in a tag is refused by the server with {answer.status}",
        "avoid tags and property values with a quote or a backslash",
    )


def _unknown(read: Read) -> Finding:
    status = read(f"/task/{uuid.uuid4()}").status
    return ok("site.unknownTask", f"an id that no task has is answered with {status}")


def _rows(answer: Answer) -> list[dict[str, Any]] | None:
    """Give the objects of a list, None when the answer is none."""
    value = _value(answer)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else None


def _value(answer: Answer) -> object:
    if answer.status != 200:
        return None
    try:
        value: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return value
