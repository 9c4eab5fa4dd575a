"""
JSON read strictly, with the exact place of what is wrong.

The standard library's reader accepts NaN, numbers that become infinite, lone
surrogates and duplicate keys, and follows nesting as deep as the stack goes.
Here all of these are refused. The text is read at the speed of the C reader;
only a text known to be bad is gone through again to find the place.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable
from typing import NoReturn

from butler_mqtt.contract import text_encodings

#: Levels of arrays and objects, the outermost counted.
MAX_DEPTH = 16
#: The longest integer; Python itself refuses longer ones since reading them takes quadratic time.
MAX_DIGITS = 4300

_TOKEN = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]|-?Infinity|NaN|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?',
    re.DOTALL,
)
_SURROGATES = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)


class JsonError(ValueError):
    """A text that is not strict JSON; `line` and `column` count characters from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        self.message = message
        self.line = line
        self.column = column
        super().__init__(f"line {line}, column {column}: {message}")


class _RefusedError(Exception):
    """Holds the reason; the C reader calls back without its place."""


def decode(payload: bytes) -> str:
    """
    Return the text of UTF-8 bytes.

    A BOM is left out, and so are NULs at the end: controllers send the whole of a buffer.

    Raises:
        JsonError: They are not UTF-8; with what they seem to be, or the first bad byte.
    """
    if b"\0" in payload[:2] or payload[:1] > b"\xf4":
        wide = text_encodings.wide(payload)
        if wide is not None:
            raise JsonError(wide, 1, 1)
    payload = payload.removeprefix(codecs.BOM_UTF8).rstrip(b"\0")
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        message = text_encodings.other_than_utf8(payload, error)
        before = payload[: error.start].decode()
        raise error_at(message, before, len(before)) from None


def loads(text: str, *, repeated_keys: bool = False, max_depth: int = MAX_DEPTH) -> object:
    """
    Read one JSON value.

    Args:
        text: The whole text.
        repeated_keys: Whether a key may occur twice; the last one holds, as in JavaScript.
        max_depth: Levels of arrays and objects, the outermost counted.

    Raises:
        JsonError: The text is not strict JSON.
    """
    try:
        value: object = (_LENIENT_READER if repeated_keys else _READER).decode(text)
    except json.JSONDecodeError as error:
        message = error.msg.removesuffix(" at")
        if message == "Extra data":
            message = "the text goes on after the end of the JSON value"
        raise JsonError(message, error.lineno, error.colno) from None
    except (_RefusedError, RecursionError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else "nested too deep"
        raise _first_fault(text, repeated_keys, max_depth) or JsonError(reason, 1, 1) from None
    if text.count("[") + text.count("{") > max_depth and _too_deep(value, max_depth):
        raise _first_fault(text, repeated_keys, max_depth) or JsonError("nested too deep", 1, 1)
    if "\\u" in text:
        _refuse_lone_surrogates(text)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RefusedError("a key occurs twice")
    return value


def _constant(name: str) -> NoReturn:
    raise _RefusedError(f"{name} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RefusedError(f"the number {digits[:40]} is too large")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _RefusedError(f"an integer of {len(digits)} characters; at most {MAX_DIGITS} are allowed")
    try:
        return int(digits)
    except ValueError:  # the interpreter was started with a lower limit
        raise _RefusedError(f"an integer of {len(digits)} characters is too long") from None


_READER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
)
_LENIENT_READER = json.JSONDecoder(parse_constant=_constant, parse_float=_float, parse_int=_integer)


def _too_deep(value: object, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        items = (item for holder in level for item in _items(holder))
        level = [item for item in items if isinstance(item, dict | list)]
    return bool(level)


def _items(holder: object) -> Iterable[object]:
    if isinstance(holder, dict):
        return holder.values()
    return holder if isinstance(holder, list) else ()


def _refuse_lone_surrogates(text: str) -> None:
    # Escapes occur only inside strings, and the text has been read, so no tokens are needed.
    for escape in _SURROGATES.finditer(text):
        if escape[1]:
            raise error_at(f"{escape[1]} is half a character (lone surrogate)", text, escape.start())


def _first_fault(text: str, repeated_keys: bool, max_depth: int) -> JsonError | None:
    """Find the first thing refused here that the C reader accepts; syntax is not judged."""
    keys: list[set[str] | None] = [None]  # of each open object; None for an array and the outside
    key_next = False
    for token in _TOKEN.finditer(text):
        word, place = token[0], token.start()
        if word in ("{", "["):
            if len(keys) > max_depth:
                return error_at(f"nested deeper than {max_depth} levels", text, place)
            key_next = word == "{"
            keys.append(set() if key_next else None)
        elif word in ("}", "]"):
            key_next = False
            if len(keys) > 1:
                keys.pop()
        elif word == ",":
            key_next = keys[-1] is not None
        else:
            seen = keys[-1] if key_next and not repeated_keys else None
            fault = _key_fault(word, seen) or _number_fault(word)
            if fault:
                return error_at(fault, text, place)
            key_next = False
    return None


def _key_fault(word: str, seen: set[str] | None) -> str | None:
    if seen is None:
        return None
    key = json.loads(word)
    if key in seen:
        return f"the key {key[:40]!r} occurs twice"
    seen.add(key)
    return None


def _number_fault(word: str) -> str | None:
    try:
        if word.startswith('"'):
            return None
        if word.endswith(("y", "N")):
            _constant(word)
        elif word.strip("-0123456789"):
            _float(word)
        else:
            _integer(word)
    except _RefusedError as refused:
        return str(refused)
    return None


def error_at(message: str, text: str, position: int) -> JsonError:
    """Return the error *message* at the character *position* of *text*, counted from 0."""
    line_start = text.rfind("\n", 0, position) + 1
    return JsonError(message, text.count("\n", 0, position) + 1, position - line_start + 1)
