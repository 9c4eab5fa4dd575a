"""
Parameters as they come: values as the texts under which Butler keeps them.

Butler's key-value store holds texts. What is no text is taken as Fastify's
coercion takes it for Butler 16's schema (`src/api/key_value_store.js`): a number
or boolean is its JavaScript text, null is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from butler_mqtt.domain.model import Parameter

#: UTF-8 bytes of one value, and characters of a namespace or key.
MAX_VALUE_BYTES = 32768
MAX_NAME = 256

#: From here on JavaScript writes a number with an exponent.
_LARGEST_PLAIN = 1e21


def as_text(value: str | float | bool | None) -> str:
    """Return a JSON value as its JavaScript text; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN:
        return str(int(value))
    if isinstance(value, float):
        # JavaScript pads no exponent: 1e-7, which is 1e-07 here.
        return repr(value).replace("e-0", "e-").replace("e+0", "e+")
    return str(value)


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
