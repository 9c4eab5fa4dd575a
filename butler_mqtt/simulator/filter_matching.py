"""
Deciding which entities a filter means.

`bind` checks a syntax tree against the properties of an entity type and turns
it into predicates over JSON documents. Strings compare without regard to case.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from butler_mqtt.simulator import filter_language
from butler_mqtt.simulator.entity_fields import Field, Kind, Schema
from butler_mqtt.simulator.filter_language import FilterError, ValueKind
from butler_mqtt.simulator.server_clock import stamp

Document = Mapping[str, Any]
#: Which element of a collection the terms below are about; empty where any element will do.
Chosen = Mapping[tuple[str, ...], Any]

_ORDERED = frozenset({"gt", "ge", "lt", "le"})
_TEXTUAL = frozenset({"sw", "ew", "so"})
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, wanted: found == wanted,
    "ne": lambda found, wanted: found != wanted,
    "gt": lambda found, wanted: found > wanted,
    "ge": lambda found, wanted: found >= wanted,
    "lt": lambda found, wanted: found < wanted,
    "le": lambda found, wanted: found <= wanted,
    "sw": lambda found, wanted: found.startswith(wanted),
    "ew": lambda found, wanted: found.endswith(wanted),
    "so": lambda found, wanted: wanted in found,
    # Not of the language: what a chain of `x eq A or x eq B …` becomes.
    "in": lambda found, wanted: found in wanted,
}


@dataclass(frozen=True)
class Dialect:
    """
    What is not known for sure about filters.

    `same_object` pairs the terms of one conjunction on the same element of a
    collection; `known_properties` are the custom properties that `@Name` may
    name (case-folded), None refuses the shorthand.
    """

    same_object: bool = False
    doubled_quotes: bool = False
    backslashes: bool = True
    quoted_guids: bool = False
    known_properties: frozenset[str] | None = frozenset()


@dataclass(frozen=True)
class Comparison:
    """A term bound to JSON keys; `collection` is how many keys lead to the list, 0 for none."""

    keys: tuple[str, ...]
    collection: int
    operator: str
    wanted: Any

    def holds(self, document: Document, chosen: Chosen) -> bool:
        """Return whether *document* matches it, given the elements *chosen* so far."""
        compare, wanted = _COMPARE[self.operator], self.wanted
        keys, root = self.keys, document
        if self.collection and (prefix := keys[: self.collection]) in chosen:
            keys, root = keys[self.collection :], chosen[prefix]
        return any(compare(found, wanted) for found in values(root, keys))

    def collections(self) -> frozenset[tuple[str, ...]]:
        """Return the collections its terms are about."""
        return frozenset({self.keys[: self.collection]}) if self.collection else frozenset()


@dataclass(frozen=True)
class PropertyShorthand:
    """`@Name operator value`: name and value on the same object by construction."""

    name: str
    value: Comparison

    def holds(self, document: Document, chosen: Chosen) -> bool:  # noqa: ARG002 - never bound to a choice
        """Return whether *document* matches it, given the elements *chosen* so far."""
        return any(
            item["definition"]["name"].casefold() == self.name and self.value.holds(item, {})
            for item in document.get("customProperties") or ()
        )

    def collections(self) -> frozenset[tuple[str, ...]]:
        """Return the collections its terms are about."""
        return frozenset()


@dataclass(frozen=True)
class Both:
    """Every part holds; with `same_object` for one choice of an element per shared collection."""

    parts: tuple[Bound, ...]
    same_object: bool

    def holds(self, document: Document, chosen: Chosen) -> bool:
        """Return whether *document* matches it, given the elements *chosen* so far."""
        if not self.same_object:
            return all(part.holds(document, chosen) for part in self.parts)
        open_collections = [prefix for prefix in self.collections() if prefix not in chosen]
        elements = [list(_elements(document, prefix)) for prefix in open_collections]
        return any(
            all(
                part.holds(document, {**chosen, **dict(zip(open_collections, choice, strict=True))})
                for part in self.parts
            )
            for choice in itertools.product(*elements)
        )

    def collections(self) -> frozenset[tuple[str, ...]]:
        """Return the collections its terms are about."""
        return frozenset().union(*(part.collections() for part in self.parts))


@dataclass(frozen=True)
class Either:
    """At least one part holds."""

    parts: tuple[Bound, ...]

    def holds(self, document: Document, chosen: Chosen) -> bool:
        """Return whether *document* matches it, given the elements *chosen* so far."""
        return any(part.holds(document, chosen) for part in self.parts)

    def collections(self) -> frozenset[tuple[str, ...]]:
        """Return the collections its terms are about."""
        return frozenset().union(*(part.collections() for part in self.parts))


Bound = Comparison | PropertyShorthand | Both | Either


def folded(value: Any) -> Any:
    """Return the form in which values are compared: strings without case."""
    return value.casefold() if isinstance(value, str) else value


def values(root: Any, keys: tuple[str, ...]) -> Sequence[Any]:
    """Return every value that *keys* lead to, through references and collections, in compared form."""
    for position, key in enumerate(keys):
        if root is None:
            return ()
        if isinstance(root, list):
            return [value for item in root for value in values(item, keys[position:])]
        root = root.get(key)
    return () if root is None else (folded(root),)


def _elements(document: Document, prefix: tuple[str, ...]) -> Iterator[Document]:
    found: Any = document
    for key in prefix:
        found = (found or {}).get(key)
    yield from found or ()


def locate(schema: Schema, path: tuple[str, ...]) -> tuple[tuple[str, ...], int, Field]:
    """
    Find a property by its *path*, case aside.

    Returns:
        The JSON keys, how many of them lead to a collection (0 for none), and the property.

    Raises:
        LookupError: No such property.
    """
    keys: list[str] = []
    collection = 0
    found: Field | None = None
    here: Schema | None = schema
    for name in path:
        found = here.get(name.casefold()) if here is not None else None
        if found is None:
            raise LookupError(".".join(path))
        keys.append(found.key)
        if found.many and not collection:
            collection = len(keys)
        here = found.schema
    if found is None or found.kind is Kind.NESTED:
        raise LookupError(".".join(path))
    return tuple(keys), collection, found


def bind(text: str, schema: Schema, dialect: Dialect) -> Bound:
    """
    Read the filter *text* for entities of *schema*.

    Raises:
        FilterError: With the body of the 400.
    """
    return _bound(
        filter_language.parse(text, doubled_quotes=dialect.doubled_quotes, backslashes=dialect.backslashes),
        schema,
        dialect,
        FilterError(f"Cannot parse the expression: {text}"),
    )


def _bound(node: filter_language.Expression, schema: Schema, dialect: Dialect, refusal: FilterError) -> Bound:
    if isinstance(node, filter_language.And):
        return Both(tuple(_bound(part, schema, dialect, refusal) for part in node.parts), dialect.same_object)
    if isinstance(node, filter_language.Or):
        return _either([_bound(part, schema, dialect, refusal) for part in node.parts])
    if node.path[0] == "@":
        return _shorthand(node, schema, dialect, refusal)
    try:
        keys, collection, found = locate(schema, node.path)
    except LookupError:
        raise refusal from None
    return Comparison(keys, collection, node.operator, _wanted(found, node, dialect, refusal))


def _either(parts: list[Bound]) -> Bound:
    """Join *parts*; many ids of one property become one lookup in a set."""
    chains: dict[tuple[str, ...], list[Comparison]] = {}
    others: list[Bound] = []
    for part in parts:
        if isinstance(part, Comparison) and part.operator == "eq":
            chains.setdefault(part.keys, []).append(part)
        else:
            others.append(part)
    joined: list[Bound] = [
        Comparison(keys, chain[0].collection, "in", frozenset(one.wanted for one in chain))
        for keys, chain in chains.items()
    ]
    parts = joined + others
    return parts[0] if len(parts) == 1 else Either(tuple(parts))


def _shorthand(
    node: filter_language.Term, schema: Schema, dialect: Dialect, refusal: FilterError
) -> PropertyShorthand:
    name = node.path[1].casefold()
    if dialect.known_properties is None or name not in dialect.known_properties:
        raise refusal
    if "customproperties" not in schema:
        raise refusal
    text = Field("value", Kind.TEXT)
    return PropertyShorthand(
        name, Comparison(("value",), 0, node.operator, _wanted(text, node, dialect, refusal))
    )


def _wanted(found: Field, node: filter_language.Term, dialect: Dialect, refusal: FilterError) -> Any:
    """Turn a written value into the compared form of the property, or refuse what does not fit."""
    kind, operator, value = found.kind, node.operator, node.value
    if operator in _TEXTUAL and kind is not Kind.TEXT:
        raise refusal
    if operator in _ORDERED and kind not in (Kind.NUMBER, Kind.ENUM, Kind.DATE):
        raise refusal
    if kind is Kind.ENUM and value.kind is ValueKind.WORD:
        number = found.names.get(str(value.value).casefold())
        if number is None:
            raise refusal
        return number
    if kind is Kind.GUID and value.kind is ValueKind.TEXT:
        if not dialect.quoted_guids:
            raise FilterError(f"Cannot convert the constant value \"Guid\" to the following: '{value.value}'")
        # Two clients quote their GUIDs; that some server accepts that is assumed.
        return _guid(str(value.value), refusal)
    if kind is Kind.DATE and value.kind is ValueKind.TEXT:
        return _date(str(value.value), refusal)
    fitting = {
        Kind.TEXT: ValueKind.TEXT,
        Kind.GUID: ValueKind.GUID,
        Kind.NUMBER: ValueKind.NUMBER,
        Kind.ENUM: ValueKind.NUMBER,
        Kind.BOOLEAN: ValueKind.BOOLEAN,
    }
    if fitting.get(kind) is not value.kind:
        raise refusal
    return folded(value.value)


def _guid(text: str, refusal: FilterError) -> str:
    node = filter_language.GUID.fullmatch(text)
    if node is None:
        raise refusal
    return text.lower()


def _date(text: str, refusal: FilterError) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refusal from None
    return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).casefold()
