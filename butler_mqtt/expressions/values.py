"""
Values of expressions: what they are called, when they are equal, how they read as text.

JSON's own types, times (`datetime` in UTC) and durations (`timedelta`). Work
that grows with a value is charged to the scope, before it is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

#: Steps of one decision or one rendered request: one for each node and element, and by the length of texts.
MAX_STEPS: Final = 1_000_000
#: From here on the digits of a whole decimal number say nothing.
_LARGE: Final = 1e21
_NUMBERS: Final = frozenset({int, float})
_NAMES: Final = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
    datetime: "a time",
    timedelta: "a duration",
}


class EvaluationError(Exception):
    """An expression that has no value for a message; `offset` is the place in its text, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        self.message = message
        self.offset = offset
        super().__init__(message)


class TooMuchWorkError(Exception):
    """The steps are used up; unlike an `EvaluationError`, no `||` makes up for it."""


class Scope:
    """The variables of one evaluation, and the steps that it may still take."""

    __slots__ = ("steps", "variables")

    def __init__(self, variables: dict[str, object], steps: int = MAX_STEPS) -> None:
        self.variables = variables
        self.steps = steps

    def charge(self, steps: int) -> None:
        """
        Take *steps* away before they are done.

        Raises:
            TooMuchWorkError: So many are not left.
        """
        self.steps -= steps
        if self.steps < 0:
            raise TooMuchWorkError


class ValueFault(Exception):
    """What an operator or a function says of its values; it does not know its place."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether *value* is a number; true and false are none."""
    return type(value) in _NUMBERS


def kind(value: object) -> str:
    """Return what *value* is, as in an error."""
    if isinstance(value, Mapping):
        return "an object"
    return _NAMES.get(type(value), "another value")


def equal(one: Any, other: Any, scope: Scope) -> bool:
    """Return whether two values are equal: numbers by their value, values of different types never."""
    first, second = type(one), type(other)
    if first is not second:
        return first in _NUMBERS and second in _NUMBERS and bool(one == other)
    if first is list or first is dict:
        scope.charge(1 + len(one))
        return len(one) == len(other) and _equal_inside(one, other, scope)
    if first is str and len(one) == len(other):
        scope.charge(1 + (len(one) >> 4))
    return bool(one == other)


def _equal_inside(one: Any, other: Any, scope: Scope) -> bool:
    if type(one) is list:
        return all(equal(left, right, scope) for left, right in zip(one, other, strict=True))
    return all(key in other and equal(value, other[key], scope) for key, value in one.items())


def whole(value: float) -> int | float:
    """Return a decimal number that is whole as an integer; not one so large that its digits are noise."""
    return int(value) if value.is_integer() and abs(value) < _LARGE else value


def text_of(value: object) -> str:
    """
    Return the text of a single value.

    Raises:
        ValueFault: It is a list, an object or null, or a number without digits.
    """
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return _digits(value)
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueFault("the number is too large")
        return str(whole(value))
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, timedelta):
        return _duration_text(value)
    raise ValueFault(f"{kind(value)} has no text")


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # Python's own limit of 4300 digits, or a lower one it was started with
        raise ValueFault("the number has too many digits") from None


def _duration_text(duration: timedelta) -> str:
    """Write a duration in seconds, never with an exponent: `duration()` reads none."""
    seconds, fraction = divmod(abs(duration) // timedelta(microseconds=1), 1_000_000)
    text = f"{seconds}.{fraction:06}".rstrip("0").removesuffix(".")
    return f"{'-' if duration < timedelta() else ''}{text}s"


def time_text(time: datetime) -> str:
    """Return *time* as RFC 3339 in UTC, with a fraction where there is one."""
    written = time.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (written.rstrip("0") if "." in written else written) + "Z"


def as_json(value: object, scope: Scope) -> object:
    """
    Return *value* as plain JSON of a request, each text and element charged as it is written out.

    Raises:
        ValueFault: It holds a number without digits.
        TooMuchWorkError: It would be longer than the scope allows.
    """
    if isinstance(value, str):
        scope.charge(1 + len(value))
        return value
    scope.charge(1)
    if isinstance(value, list):
        return [as_json(item, scope) for item in value]
    if isinstance(value, Mapping):
        return {str(as_json(key, scope)): as_json(item, scope) for key, item in value.items()}
    if type(value) is int:
        scope.charge(value.bit_length() >> 2)
        _digits(value)
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueFault("the number is too large")
        return whole(value)
    return text_of(value) if isinstance(value, datetime | timedelta) else value
