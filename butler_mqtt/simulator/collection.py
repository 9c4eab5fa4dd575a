"""Entities of one kind, found by id or filter; `id eq A or id eq B …` does not test the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from butler_mqtt.simulator.entity_fields import Kind, Schema
from butler_mqtt.simulator.filter_matching import Both, Bound, Comparison, Either, locate, values


def dump(document: Any) -> bytes:
    """Serialise compactly."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


class Entity:
    """A JSON document with an id whose serialised forms are kept until it changes."""

    #: Keys of the condensed form; None: the same as the full form.
    condensed_keys: tuple[str, ...] | None = None

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.id: str = document["id"]
        self._full: bytes | None = None
        self._condensed: bytes | None = None

    def changed(self) -> None:
        """Forget the serialised forms."""
        self._full = self._condensed = None

    def full(self) -> bytes:
        """Return the full form."""
        if self._full is None:
            self._full = dump(self.document)
        return self._full

    def condensed_document(self) -> dict[str, Any]:
        """Return the keys of the condensed form."""
        if self.condensed_keys is None:
            return self.document
        return {key: self.document[key] for key in self.condensed_keys if key in self.document}

    def condensed(self) -> bytes:
        """Return the condensed form."""
        if self._condensed is None:
            self._condensed = dump(self.condensed_document())
        return self._condensed


E = TypeVar("E", bound=Entity)


class Collection(Generic[E]):
    """
    Entities in order of arrival.

    Args:
        indexed: Paths whose values never change while the entity is here.
    """

    def __init__(self, indexed: tuple[tuple[str, ...], ...] = (("id",),)) -> None:
        self._entities: dict[str, E] = {}
        self._order: dict[str, int] = {}
        self._arrivals = 0
        self._indexes: dict[tuple[str, ...], dict[Any, dict[str, None]]] = {path: {} for path in indexed}

    def __len__(self) -> int:
        return len(self._entities)

    def __iter__(self) -> Iterator[E]:
        return iter(self._entities.values())

    def get(self, entity_id: str) -> E | None:
        """Find one by its lower-case id."""
        return self._entities.get(entity_id)

    def add(self, entity: E) -> None:
        """Add *entity*, in place of one with the same id."""
        order = self._order.get(entity.id)
        self.remove(entity.id)
        if order is None:
            self._arrivals += 1
            order = self._arrivals
        self._entities[entity.id] = entity
        self._order[entity.id] = order
        for path, index in self._indexes.items():
            for value in values(entity.document, path):
                index.setdefault(value, {})[entity.id] = None

    def remove(self, entity_id: str) -> E | None:
        """Remove and return one entity; None when there is none."""
        entity = self._entities.pop(entity_id, None)
        if entity is None:
            return None
        del self._order[entity_id]
        for path, index in self._indexes.items():
            for value in values(entity.document, path):
                ids = index.get(value, {})
                ids.pop(entity_id, None)
                if not ids:
                    index.pop(value, None)
        return entity

    def oldest(self) -> E | None:
        """Return the oldest one."""
        return next(iter(self._entities.values()), None)

    def find(self, condition: Bound | None) -> list[E]:
        """Return all that match *condition* (None: all), oldest first."""
        if condition is None:
            return list(self._entities.values())
        ids = self._candidates(condition)
        if ids is None:
            found: list[E] = list(self._entities.values())
        else:
            found = [self._entities[one] for one in sorted(ids, key=self._order.__getitem__)]
        return [entity for entity in found if condition.holds(entity.document, {})]

    def _candidates(self, condition: Bound) -> set[str] | None:
        """Return the ids of all that may match *condition*, None when no index has them."""
        if isinstance(condition, Comparison):
            index = self._indexes.get(condition.keys)
            if index is None or condition.operator not in ("eq", "in"):
                return None
            wanted = condition.wanted if condition.operator == "in" else (condition.wanted,)
            return {entity_id for one in wanted for entity_id in index.get(one, ())}
        if isinstance(condition, Both):
            known = [ids for ids in map(self._candidates, condition.parts) if ids is not None]
            return min(known, key=len) if known else None
        if isinstance(condition, Either):
            joined: set[str] = set()
            for ids in map(self._candidates, condition.parts):
                if ids is None:
                    return None
                joined |= ids
            return joined
        return None


def sorter(orderby: str, schema: Schema) -> Callable[[list[E]], list[E]]:
    """
    Read `orderby`: property paths joined by commas, each with ` asc` or ` desc`.

    Raises:
        LookupError: No such property, or one that cannot be sorted by.
    """
    steps: list[tuple[tuple[str, ...], bool]] = []
    for part in orderby.split(","):
        words = part.split()
        if len(words) not in (1, 2) or (len(words) == 2 and words[1] not in ("asc", "desc")):
            raise LookupError(orderby)
        keys, collection, found = locate(schema, tuple(words[0].split(".")))
        if collection or found.kind is Kind.NESTED:
            raise LookupError(orderby)
        steps.append((keys, words[-1] == "desc"))

    def ordered(entities: list[E]) -> list[E]:
        for keys, descending in reversed(steps):
            entities = sorted(entities, key=lambda entity: _sort_key(entity, keys), reverse=descending)
        return entities

    return ordered


def _sort_key(entity: Entity, keys: tuple[str, ...]) -> tuple[bool, Any]:
    found = values(entity.document, keys)
    return (True, found[0]) if found else (False, None)
