"""The query parameters of a list: known ones, each once, each with a value that it takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.datastructures import QueryParams

from butler_mqtt.contract import schema_errors
from butler_mqtt.http.error_responses import HttpRefusal

#: Entries of a page, by default and at most.
LIMIT, MAX_LIMIT = 50, 500

_MAX_TEXT = 256

_Value = TypeVar("_Value")


class QueryParameters:
    """
    The parameters of one call; every method raises HttpRefusal `invalid_request`, naming the fault.

    Args:
        given: As the call has them.
        names: Those that the list knows.
    """

    def __init__(self, given: QueryParams, names: Sequence[str]) -> None:
        self._given = given
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name.lower(), names, n=1)
                hint = f", did you mean '{near[0]}'?" if near else f"; known are {', '.join(names)}"
                raise invalid(f"unknown parameter {schema_errors.shown(name)}{hint}")
            if len(given.getlist(name)) > 1:
                raise invalid(f"{name} is given twice")

    def one_of(self, name: str, values: Sequence[str]) -> str | None:
        """Return a parameter that is one of *values*, None when it is absent."""
        value = self._given.get(name)
        if value is not None and value not in values:
            raise invalid(f"{name} is {schema_errors.shown(value)}, not one of {', '.join(values)}")
        return value

    def text(self, name: str) -> str | None:
        """Return a text, None when it is absent."""
        text = self._given.get(name)
        if text is not None and not 0 < len(text) <= _MAX_TEXT:
            raise invalid(f"{name} must have 1 to {_MAX_TEXT} characters")
        return text

    def read(self, name: str, read: Callable[[str], _Value], wrong: str) -> _Value | None:
        """Return what *read* makes of a parameter; *wrong* says what one is that raises ValueError."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            return read(text)
        except ValueError:
            raise invalid(f"{name} is {schema_errors.shown(text)}, {wrong}") from None

    def limit(self) -> int:
        """Return how many entries a page has."""
        return self.read("limit", _limit, f"not a whole number, 1 to {MAX_LIMIT}") or LIMIT


def invalid(details: str) -> HttpRefusal:
    """Return the refusal of a parameter."""
    return HttpRefusal("invalid_request", "Invalid request", details)


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(text)
    return int(text)
