"""Selectors and how they are joined, as they stand in a request and in each of its stages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from butler_mqtt.domain.model import Match, Selector, SelectorKind

_MATCHES: dict[str | None, Match] = {None: Match.ANY, **{how.value: how for how in Match}}


#: See `any_case`.
AnyCase = tuple[str, str]


def any_case(text: str) -> AnyCase:
    """
    Return what is equal for texts that whoever disregards letter case takes for one.

    `str.casefold` takes more for one: `Straße` and `STRASSE`, of which the server, that
    compares letter by letter, may have a tag each.
    """
    return text.lower(), text.upper()


def selectors_of(holder: Mapping[str, Any], path_task_id: str | None = None) -> tuple[Selector, ...]:
    """
    Return each selector once, kind by kind, so that the order of keys does not matter.

    Args:
        holder: A well-formed request, or one of its stages.
        path_task_id: A task id that goes before those of the holder.
    """
    found: dict[tuple[SelectorKind, AnyCase, AnyCase], Selector] = {}
    for kind in SelectorKind:
        entries = holder.get(kind, [])
        if not isinstance(entries, list):
            entries = [entries]
        if kind is SelectorKind.TASK_ID and path_task_id is not None:
            entries = [path_task_id, *entries]
        if not entries:
            continue
        if kind is SelectorKind.TASK_ID:
            selectors = [Selector(kind, task_id.lower()) for task_id in entries]
        elif kind is SelectorKind.CUSTOM_PROPERTY:
            selectors = [Selector(kind, entry["value"], entry["name"]) for entry in entries]
        else:
            selectors = [Selector(kind, entry) for entry in entries]
        for selector in selectors:
            found.setdefault((kind, any_case(selector.name), any_case(selector.value)), selector)
    return tuple(found.values())


def grouped(selectors: Iterable[Selector]) -> dict[str, object]:
    """Write selectors as the keys of a request, always as arrays."""
    written: dict[str, list[object]] = {}
    for selector in selectors:
        for name, value in selector.as_json().items():
            written.setdefault(name, []).append(value)
    return dict(written)


def match_of(holder: Mapping[str, Any]) -> dict[str, str]:
    """Return what the key `match` says beyond its defaults."""
    return {key: how for key, how in holder["match"].items() if how != "any"} if "match" in holder else {}


def matches(match: Mapping[str, str], key: str) -> Match:
    """Return how the selectors of one kind (*key*), or the kinds (`criteria`), are joined."""
    return _MATCHES[match.get(key)]
