"""
The functions of expressions: CEL's standard ones, and those of its extension for texts.

A regular expression and a time zone are constants of the expression: they are
read once, with it. RE2 matches in time that grows with the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import re2

from butler_mqtt.expressions.operators import checked
from butler_mqtt.expressions.values import Scope, ValueFault, is_number, kind, text_of

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FRACTION: Final = re.compile(r"(\.[0-9]{6})[0-9]+")
_PART: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?)(h|ms|m|s|us|ns)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
#: Characters of a duration.
_MAX_DURATION: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """
    One function: how it is written, and what it does.

    `counts` are how many arguments it takes, the value before the dot counted;
    `method` and `plain` tell whether `a.f(b)` and `f(a, b)` may be written.
    `prepare` makes the second argument, then a constant, ready once; it raises ValueFault.
    """

    call: Callable[..., Any]
    counts: tuple[int, ...]
    method: bool = True
    plain: bool = False
    prepare: Callable[[object], object] | None = None


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueFault(f"takes a text, not {kind(value)}")
    return value


def _position(value: object, length: int) -> int:
    if type(value) is not int or not 0 <= value <= length:
        raise ValueFault(f"takes a position from 0 to {length}, the length of the text")
    return value


def _size(scope: Scope, value: Any) -> int:
    del scope
    if not isinstance(value, str | list | Mapping):
        raise ValueFault(f"takes a text, a list or an object, not {kind(value)}")
    return len(value)


def _searched(search: Callable[[str, str], bool | int]) -> Callable[..., Any]:
    def call(scope: Scope, value: Any, part: Any) -> bool | int:
        text, sought = _text(value), _text(part)
        scope.charge(1 + ((len(text) + len(sought)) >> 2))
        return search(text, sought)

    return call


def _matches(scope: Scope, value: Any, pattern: Any) -> bool:
    text = _text(value)
    scope.charge(1 + len(text))
    return pattern.search(text) is not None


def _pattern(value: object) -> object:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_text(value), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it cannot be read"
        shown = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueFault(f"is no regular expression that RE2 knows: {shown}") from None


def _changed(change: Callable[[str], str]) -> Callable[..., Any]:
    def call(scope: Scope, value: Any) -> str:
        text = _text(value)
        scope.charge(1 + (len(text) >> 2))
        return change(text)

    return call


def _ascii(change: Callable[[str], str]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        return re.sub(r"[A-Za-z]+", lambda found: change(found[0]), text)

    return changed


def _split(scope: Scope, value: Any, separator: Any, limit: Any = -1) -> list[str]:
    text, between = _text(value), _text(separator)
    if type(limit) is not int:
        raise ValueFault(f"takes a number of parts, not {kind(limit)}")
    scope.charge(1 + (len(text) >> 2))
    if limit == 0:
        return []
    scope.charge(1 + (text.count(between) if between else len(text)))
    if limit == 1:
        return [text]
    if not between:
        parts = list(text) or [text]
        return parts if limit < 0 or limit >= len(parts) else [*parts[: limit - 1], text[limit - 1 :]]
    return text.split(between, limit - 1 if limit > 0 else -1)


def _replace(scope: Scope, value: Any, old: Any, new: Any) -> str:
    text, before, after = _text(value), _text(old), _text(new)
    scope.charge(1 + ((len(text) + len(before)) >> 2))
    length = len(text) + text.count(before) * (len(after) - len(before))
    scope.charge(1 + (length >> 4))
    return text.replace(before, after)


def _joined(scope: Scope, values: Any, separator: Any = "") -> str:
    if type(values) is not list:
        raise ValueFault(f"takes a list, not {kind(values)}")
    between = _text(separator)
    scope.charge(1 + len(values))
    scope.charge((sum(len(_text(one)) for one in values) + len(between) * len(values)) >> 4)
    return between.join(values)


def _substring(scope: Scope, value: Any, start: Any, end: Any = None) -> str:
    text = _text(value)
    first = _position(start, len(text))
    last = len(text) if end is None else _position(end, len(text))
    if last < first:
        raise ValueFault("takes an end that is not before its start")
    scope.charge(1 + ((last - first) >> 4))
    return text[first:last]


def _character(scope: Scope, value: Any, position: Any) -> str:
    del scope
    text = _text(value)
    return text[_position(position, len(text)) :][:1]


def _string(scope: Scope, value: Any) -> str:
    if type(value) is int:
        scope.charge(1 + (value.bit_length() >> 2))
    return text_of(value)


def _int(scope: Scope, value: Any) -> Any:
    del scope
    if type(value) is int:
        return checked(value)
    if type(value) is float or type(value) is bool:
        return checked(int(value))
    if type(value) is str and _INTEGER.fullmatch(value):
        return checked(int(value))
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(seconds=1)
    shown = f"the text {value[:40]!r}" if type(value) is str else kind(value)
    raise ValueFault(f"makes no integer of {shown}")


def _double(scope: Scope, value: Any) -> Any:
    del scope
    try:
        if is_number(value):
            return checked(float(value))
        if type(value) is str and _DECIMAL.fullmatch(value):
            return checked(float(value))
    except OverflowError:
        raise ValueFault("the result is too large a number") from None
    shown = f"the text {value[:40]!r}" if type(value) is str else kind(value)
    raise ValueFault(f"makes no number of {shown}")


def _bool(scope: Scope, value: Any) -> bool:
    del scope
    if type(value) is bool:
        return value
    if value in {"true", "True", "TRUE", "t", "1"} if type(value) is str else False:
        return True
    if value in {"false", "False", "FALSE", "f", "0"} if type(value) is str else False:
        return False
    raise ValueFault(f"makes neither true nor false of {kind(value)}")


def _timestamp(scope: Scope, value: Any) -> datetime:
    del scope
    try:
        if isinstance(value, datetime):
            return value
        if type(value) is int:
            return _EPOCH + timedelta(seconds=value)
        if type(value) is str and _TIME.fullmatch(value):
            return datetime.fromisoformat(_FRACTION.sub(r"\1", value).upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    shown = f"the text {value[:40]!r}" if type(value) is str else kind(value)
    raise ValueFault(f"makes no time of {shown}; a time is written 2031-01-31T08:00:00+01:00")


def _duration(scope: Scope, value: Any) -> timedelta:
    del scope
    if isinstance(value, timedelta):
        return value
    text = _text(value)
    sign = -1 if text.startswith("-") else 1
    digits = text.removeprefix("-")
    # None that is longer means anything; it is not read at all, so that no length costs time.
    parts = _PART.findall(digits) if len(digits) <= _MAX_DURATION else []
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueFault(f"makes no duration of {text[:40]!r}; one is written 1h30m or 2.5s")
    try:
        return timedelta(seconds=sign * sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueFault("the duration is too long") from None


def _zone(value: object) -> object:
    name = _text(value)
    found = re.fullmatch(r"([+-])?([0-9]{2}):([0-9]{2})", name)
    if found:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        try:
            return timezone(-offset if found[1] == "-" else offset)
        except ValueError:
            raise ValueFault(f"{name!r} is no offset from UTC") from None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueFault(
            f"{name[:60]!r} is no time zone that this machine knows, such as Europe/Berlin"
        ) from None


def _of_time(part: Callable[[datetime], int], duration: int | None = None) -> FunctionDefinition:
    """Return a part of a time; of a duration, how many times *duration* microseconds it holds."""

    def call(scope: Scope, value: Any, zone: Any = UTC) -> int:
        del scope
        if duration and isinstance(value, timedelta):
            whole = abs(value) // timedelta(microseconds=duration)
            if duration == 1:  # as in CEL, the part and not the whole
                whole = whole % 1_000_000 // 1000
            return -whole if value < timedelta() else whole
        if not isinstance(value, datetime):
            raise ValueFault(f"takes a time, not {kind(value)}")
        try:
            return part(value.astimezone(zone))
        except OverflowError:
            raise ValueFault("the time is outside the years 1 to 9999") from None

    return FunctionDefinition(call, (1, 2), prepare=_zone)


def _milliseconds(time: datetime) -> int:
    return time.microsecond // 1000


FUNCTIONS: Final[Mapping[str, FunctionDefinition]] = {
    "size": FunctionDefinition(_size, (1,), plain=True),
    "contains": FunctionDefinition(_searched(lambda text, part: part in text), (2,)),
    "startsWith": FunctionDefinition(_searched(str.startswith), (2,)),
    "endsWith": FunctionDefinition(_searched(str.endswith), (2,)),
    "indexOf": FunctionDefinition(_searched(str.find), (2,)),
    "lastIndexOf": FunctionDefinition(_searched(str.rfind), (2,)),
    "matches": FunctionDefinition(_matches, (2,), plain=True, prepare=_pattern),
    "lowerAscii": FunctionDefinition(_changed(_ascii(str.lower)), (1,)),
    "upperAscii": FunctionDefinition(_changed(_ascii(str.upper)), (1,)),
    "trim": FunctionDefinition(_changed(str.strip), (1,)),
    "split": FunctionDefinition(_split, (2, 3)),
    "replace": FunctionDefinition(_replace, (3,)),
    "join": FunctionDefinition(_joined, (1, 2)),
    "substring": FunctionDefinition(_substring, (2, 3)),
    "charAt": FunctionDefinition(_character, (2,)),
    "string": FunctionDefinition(_string, (1,), method=False, plain=True),
    "int": FunctionDefinition(_int, (1,), method=False, plain=True),
    "double": FunctionDefinition(_double, (1,), method=False, plain=True),
    "bool": FunctionDefinition(_bool, (1,), method=False, plain=True),
    "timestamp": FunctionDefinition(_timestamp, (1,), method=False, plain=True),
    "duration": FunctionDefinition(_duration, (1,), method=False, plain=True),
    "dyn": FunctionDefinition(lambda _, value: value, (1,), method=False, plain=True),
    "getFullYear": _of_time(lambda time: time.year),
    "getMonth": _of_time(lambda time: time.month - 1),
    "getDate": _of_time(lambda time: time.day),
    "getDayOfMonth": _of_time(lambda time: time.day - 1),
    "getDayOfWeek": _of_time(lambda time: time.isoweekday() % 7),
    "getDayOfYear": _of_time(lambda time: time.timetuple().tm_yday - 1),
    "getHours": _of_time(lambda time: time.hour, 3_600_000_000),
    "getMinutes": _of_time(lambda time: time.minute, 60_000_000),
    "getSeconds": _of_time(lambda time: time.second, 1_000_000),
    "getMilliseconds": _of_time(_milliseconds, 1),
}
