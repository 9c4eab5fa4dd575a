"""
Holds a dashboard against Grafana's own description of dashboards.

Its types are generated from the schema that Grafana publishes. They are read
leniently, so what was read is held against the types of its fields, and written
again: a key that Grafana does not know is missing then.
"""

from __future__ import annotations

import enum
import json
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def problems(dashboard: dict[str, Any]) -> list[str]:
    """Return what of *dashboard* Grafana does not know or would take for something else."""
    plugins.register_default_plugins()
    read = Dashboard.from_json(dashboard)
    written = json.loads(json.dumps(read, cls=JSONEncoder))
    return [*_unlike("dashboard", dashboard, written), *_misfits("dashboard", read, Dashboard)]


def _unlike(place: str, given: object, written: object) -> Iterator[str]:
    """Give each part of *given* that is not in *written*, which may have more: defaults."""
    if isinstance(given, dict) and isinstance(written, dict):
        for key, value in given.items():
            if key in written:
                yield from _unlike(f"{place}.{key}", value, written[key])
            else:
                yield f"{place}.{key} is not known"
    elif isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        for number, pair in enumerate(zip(given, written, strict=True)):
            yield from _unlike(f"{place}[{number}]", *pair)
    elif given != written:
        yield f"{place}: {given!r} is read as {written!r}"


def _misfits(place: str, value: object, hint: Any) -> Iterator[str]:
    """Give each part of *value* that is not of the type that *hint* says."""
    # What stands for any panel's options is read into the type of that panel.
    hint = type(value) if hint in {Any, object} else hint
    kind = typing.get_origin(hint)
    if kind in {typing.Union, types.UnionType}:
        yield from min((list(_misfits(place, value, one)) for one in typing.get_args(hint)), key=len)
    elif kind in {list, dict}:
        yield from _of_parts(place, value, kind, typing.get_args(hint)[-1])
    elif kind is typing.Literal or issubclass(hint, enum.Enum):
        known = typing.get_args(hint) or [*hint, *(one.value for one in hint)]
        if value not in known:
            yield f"{place}: {value!r} is none of {known}"
    else:
        yield from _of_object(place, value, hint)


def _of_parts(
    place: str, value: object, kind: type[list[Any]] | type[dict[str, Any]], hint: Any
) -> Iterator[str]:
    if not isinstance(value, kind):
        yield f"{place}: {value!r} is no {kind.__name__}"
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _misfits(f"{place}[{key}]", part, hint)


def _of_object(place: str, value: object, hint: Any) -> Iterator[str]:
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        yield f"{place}: {value!r} is no {hint.__name__}"
    elif hint.__module__.startswith("grafana_foundation_sdk"):
        own = type(value)
        for name, field in typing.get_type_hints(own, vars(sys.modules[own.__module__])).items():
            yield from _misfits(f"{place}.{name}", getattr(value, name), field)
