"""
The number of tasks, counted by kind.

`/qrs/task/count` is in none of Qlik's descriptions of the API: abstract types
have a list only, and a real site answers 404.
"""

from __future__ import annotations

from typing import Protocol

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import json_fields

#: Paths of the concrete kinds; distribute and preload tasks are reload tasks to the server.
KINDS = ("reloadtask", "externalprogramtask", "usersynctask")
#: Statuses of a server that does not know a kind, or knows of no such property in it: it has no such task.
_NONE_OF_THAT = frozenset({400, 404})


class ReadCount(Protocol):
    """A retrying read: the JSON of the answer, or `QlikUnavailable` or `QlikRefused`."""

    def __call__(self, path: str, query: str = "") -> object:
        """Read /qrs*path*; *query* is encoded already."""
        ...


def count_tasks(read: ReadCount, query: str = "") -> int | None:
    """
    Count the tasks of all kinds; None when the server gives no number.

    Raises:
        QlikUnavailable: The server could not be asked.
        QlikRefused: The server refuses to count any kind, or for want of rights.
    """
    numbers: list[int | None] = []
    refusal: QlikRefused | None = None
    for kind in KINDS:
        try:
            numbers.append(json_fields.number(json_fields.part(read(f"/{kind}/count", query), "value")))
        except QlikRefused as error:
            if error.status not in _NONE_OF_THAT:
                raise
            refusal = error
    if not numbers and refusal is not None:
        raise refusal
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
