"""
The operators of expressions.

CEL's, with two differences, both so that a device may write 21 today and 21.5
tomorrow: an integer and a decimal number may be added, subtracted, multiplied
and divided, and a division by zero is an error for both.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from butler_mqtt.expressions.values import Scope, ValueFault, equal, is_number, kind

#: An operator on two values; raises ValueFault.
Operator = Callable[[Any, Any, Scope], Any]
#: Beyond these an integer is too large for CEL to calculate with.
_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1
_ORDERED: Final = frozenset({str, bool, datetime, timedelta})


def checked(value: int | float) -> int | float:
    """Return the result of a calculation; raises ValueFault when it is too large for CEL."""
    if type(value) is float:
        if math.isfinite(value):
            return value
    elif _SMALLEST <= value <= _LARGEST:
        return value
    raise ValueFault("the result is too large a number")


def _no_such(sign: str, one: object, other: object) -> ValueFault:
    fault = f"{kind(one)} {sign} {kind(other)} is not possible"
    if str not in {type(one), type(other)}:
        return ValueFault(fault)
    if sign == "+":
        return ValueFault(f"{fault}; string(…) makes a text of a value")
    if is_number(one) or is_number(other):
        return ValueFault(f"{fault}; write int(…) or double(…) around the text")
    return ValueFault(fault)


def add(one: Any, other: Any, scope: Scope) -> Any:
    """Add numbers, join texts or lists, move a time by a duration."""
    if is_number(one) and is_number(other):
        return _calculated(operator.add, one, other)
    if type(one) is str and type(other) is str:
        scope.charge(1 + ((len(one) + len(other)) >> 4))
        return one + other
    if type(one) is list and type(other) is list:
        scope.charge(1 + len(one) + len(other))
        return one + other
    if isinstance(one, datetime | timedelta) and isinstance(other, datetime | timedelta):
        return _moved(operator.add, one, other, "+")
    raise _no_such("+", one, other)


def subtract(one: Any, other: Any, _: Scope) -> Any:
    """Subtract numbers, times or durations."""
    if is_number(one) and is_number(other):
        return _calculated(operator.sub, one, other)
    if isinstance(one, datetime | timedelta) and isinstance(other, datetime | timedelta):
        return _moved(operator.sub, one, other, "-")
    raise _no_such("-", one, other)


def _moved(calculate: Callable[[Any, Any], Any], one: Any, other: Any, sign: str) -> Any:
    try:
        return calculate(one, other)
    except TypeError:
        raise _no_such(sign, one, other) from None
    except OverflowError:
        raise ValueFault("the time is outside the years 1 to 9999") from None


def _calculated(calculate: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    try:
        return checked(calculate(one, other))
    except OverflowError:  # an integer too large for a decimal number
        raise ValueFault("the result is too large a number") from None


def multiply(one: Any, other: Any, _: Scope) -> Any:
    """Multiply numbers."""
    if not (is_number(one) and is_number(other)):
        raise _no_such("*", one, other)
    return _calculated(operator.mul, one, other)


def divide(one: Any, other: Any, _: Scope) -> Any:
    """Divide numbers; of two integers the fraction is dropped, as CEL has it."""
    if not (is_number(one) and is_number(other)):
        raise _no_such("/", one, other)
    if other == 0:
        raise ValueFault("division by zero")
    if type(one) is int and type(other) is int:
        whole = abs(one) // abs(other)
        return checked(whole if (one < 0) == (other < 0) else -whole)
    return _calculated(operator.truediv, one, other)


def modulo(one: Any, other: Any, _: Scope) -> Any:
    """Return the rest of a division of integers, with the sign of the first."""
    if type(one) is not int or type(other) is not int:
        raise ValueFault(
            f"% takes integers; {kind(one)} % {kind(other)} is not possible, perhaps write int(…)"
        )
    if other == 0:
        raise ValueFault("division by zero")
    rest = abs(one) % abs(other)
    return checked(-rest if one < 0 else rest)


def _order(sign: str, compare: Callable[[Any, Any], bool]) -> Operator:
    """Return the operator for values that have an order."""

    def ordered(one: Any, other: Any, scope: Scope) -> bool:
        if is_number(one) and is_number(other):
            return compare(one, other)
        if type(one) is not type(other) or type(one) not in _ORDERED:
            raise _no_such(sign, one, other)
        if type(one) is str:
            scope.charge(1 + (min(len(one), len(other)) >> 4))
        return compare(one, other)

    return ordered


def contained(one: Any, other: Any, scope: Scope) -> bool:
    """Return whether *one* is an element of the list, or a key of the object, *other*."""
    if type(other) is list:
        scope.charge(1 + len(other))
        return any(equal(one, item, scope) for item in other)
    if isinstance(other, Mapping):
        return type(one) is str and one in other
    raise ValueFault(f"`in` takes a list or an object, not {kind(other)}")


RELATIONS: Final[Mapping[str, Operator]] = {
    "==": equal,
    "!=": lambda one, other, scope: not equal(one, other, scope),
    "<": _order("<", operator.lt),
    "<=": _order("<=", operator.le),
    ">": _order(">", operator.gt),
    ">=": _order(">=", operator.ge),
    "in": contained,
}
CALCULATIONS: Final[Mapping[str, Operator]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": modulo,
}
