"""
Parameters as they come: values as the texts under which Butler keeps them.

Butler's key-value store holds texts. What is no text is taken as Fastify's
coercion takes it for Butler 16's schema (`src/api/key_value_store.js`): a number
or boolean is its JavaScript text, null is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from butler_mqtt.domain.model import Parameter

#: UTF-8 bytes of one value, and characters of a namespace or key.
MAX_VALUE_BYTES = 32768
MAX_NAME = 256

#: Decimal places up to which, and digits from which on, JavaScript writes a number without an exponent.
_PLAIN_PLACES, _PLAIN_DIGITS = 6, 21


def as_text(value: str | float | bool | None) -> str:
    """Return a JSON value as its JavaScript text; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Return a number as `Number::toString` of ECMAScript does, but for digits that a double would lose."""
    if isinstance(value, int) and abs(value) < 10**_PLAIN_DIGITS:
        return str(value)
    try:
        double = float(value)
    except OverflowError:
        return str(value)
    if double == 0:
        return "0"
    sign, figures, exponent = Decimal(repr(double)).as_tuple()
    digits = "".join(map(str, figures)).rstrip("0")
    point = len(figures) + int(exponent)  # where it stands, counted from before the first digit
    if len(digits) <= point <= _PLAIN_DIGITS:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= _PLAIN_DIGITS:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -_PLAIN_PLACES < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
        text = f"{mantissa}e{point - 1:+d}"
    return f"-{text}" if sign else text


def read(parameters: Mapping[str, Mapping[str, Any]]) -> tuple[Parameter, ...]:
    """Return the parameters of a well-formed request, in its order."""
    return tuple(
        Parameter(namespace, key, as_text(value))
        for namespace, values in parameters.items()
        for key, value in values.items()
    )


def problems(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    """Yield what the schema cannot judge: names and sizes."""
    for one in parameters:
        place = f"parameters.{one.namespace[:80]}.{one.key[:80]}"
        if not (0 < len(one.namespace) <= MAX_NAME and 0 < len(one.key) <= MAX_NAME):
            yield f"{place}: a namespace and a key have 1 to {MAX_NAME} characters"
        elif "\0" in one.namespace + one.key + one.value:
            yield f"{place} holds a NUL character"
        elif (size := len(one.value.encode())) > MAX_VALUE_BYTES:
            yield f"{place} has {size} bytes, {MAX_VALUE_BYTES} are allowed"
