"""
What requests of a period asked for and what became of it, summed up for a review; reads only.

Each table is read once from front to back: among a million requests that takes
a few seconds, and no request pays for an index that is needed once a month.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from butler_mqtt.contract.selectors import AnyCase, any_case, selectors_of
from butler_mqtt.domain.model import Selector, SelectorKind
from butler_mqtt.journal.read_only import ReadOnlyJournal

#: Different selectors of one sort that are kept: a sender that goes wrong asks for new ones each time.
MOST = 20_000

#: The two indexes of requests.
CLOSED = "closed_at IS NOT NULL"
_BOTH = ("closed_at IS NULL", CLOSED)
_FIRST = "SELECT min(id) FROM requests WHERE {} AND received_at >= ?"
# A sender is where a request came from; where that is no sender of the configuration, what it says of itself.
_SENDERS = """
    SELECT coalesce(nullif(identity, 'unknown'), sender), received_at / 86400000,
        count(*), min(received_at), max(received_at)
    FROM requests WHERE {} AND received_at >= ? GROUP BY 1, 2
"""
_TAGS = """
    SELECT max(id), count(*), tags FROM requests INDEXED BY requests_by_tags
    WHERE tags IS NOT NULL AND id >= ? GROUP BY tags
"""
# One pass over the requests; what holds nothing of interest is dropped inside SQLite.
_DOCUMENTS = """
    SELECT id,
        CASE WHEN not_found IS NOT NULL THEN not_found
            WHEN code = 'all_must_exist' THEN json_extract(reply, '$.tasksNotFound') END,
        json_extract(document, '$.customProperty'),
        json_extract(document, '$.stages')
    FROM requests WHERE id >= ? AND received_at >= ? AND (
        not_found IS NOT NULL OR code = 'all_must_exist'
        OR instr(document, '"customProperty"') OR instr(document, '"stages"'))
"""
_STARTS = """
    SELECT task_id, state, instr(kinds, 'taskId:') > 0, count(*), max(id), max(request)
    FROM starts NOT INDEXED WHERE request >= ? GROUP BY 1, 2, 3
"""
_NAMES_OF_STARTS = "SELECT task_id, task_name FROM starts WHERE id IN (SELECT value FROM json_each(?))"
_NAMES = """
    SELECT value, (SELECT task_name FROM starts WHERE task_id = value AND state <> 'planned'
    ORDER BY request DESC LIMIT 1) FROM json_each(?)
"""
_RULES = """
    SELECT rule, started + unmatched + coalesced + failed + error, error + failed, matched_at FROM rule_counts
"""
_LAST_USES = """
    SELECT id, request_id, received_at, coalesce(nullif(identity, 'unknown'), sender), door FROM requests
    WHERE id IN (SELECT value FROM json_each(?))
"""


@dataclass(slots=True)
class SelectorUse:
    """A selector as the last request wrote it, how many requests did, and the row of the last of them."""

    selector: Selector
    requests: int = 0
    last: int = 0


@dataclass(slots=True)
class TaskUse:
    """
    The starts of a task by their states, and the row of the last request for it.

    `name` is the one seen last; `by_id` the row of the last request that named
    the task by its id, 0 for none.
    """

    name: str = ""
    last: int = 0
    by_id: int = 0
    states: dict[str, int] = field(default_factory=dict)

    @property
    def starts(self) -> int:
        """How many starts there were, whatever became of them."""
        return sum(self.states.values())


@dataclass(slots=True)
class SenderUse:
    """When a sender was heard: first and last (milliseconds since 1970), on how many days, how often."""

    requests: int
    days: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RuleUse:
    """Since a rule was first seen: messages judged, those that could not be, and the last match, if any."""

    messages: int
    errors: int
    matched_at: int | None


@dataclass(frozen=True, slots=True)
class LastUse:
    """The request that used something last: its id, when it arrived, its sender and door."""

    request_id: str
    received_at: int
    sender: str | None
    door: str


@dataclass(slots=True)
class Usage:
    """
    What requests used since `since` (milliseconds since 1970).

    `asked` are the tags and values of custom properties of requests and stages,
    `not_found` the selectors that found nothing; `rules` are counted from when they were
    first seen. `dropped`: so many of these were
    too many to keep, those used longest ago.
    """

    since: int
    requests: int = 0
    asked: list[SelectorUse] = field(default_factory=list)
    not_found: list[SelectorUse] = field(default_factory=list)
    tasks: dict[str, TaskUse] = field(default_factory=dict)
    senders: dict[str, SenderUse] = field(default_factory=dict)
    rules: dict[str, RuleUse] = field(default_factory=dict)
    dropped: int = 0


class UsageReader(ReadOnlyJournal):
    """Sums up what is in a journal; raises JournalError when the file cannot be read."""

    def usage(self, since: int, most: int = MOST) -> Usage:
        """
        Sum up the requests that arrived since *since*.

        Args:
            since: Milliseconds since 1970.
            most: Different selectors of one sort that are kept.
        """
        usage = Usage(since)
        with self.reading() as connection:
            firsts = [row[0] for part in _BOTH for row in _rows(connection, _FIRST.format(part), since)]
            first = min((row for row in firsts if row is not None), default=None)
            if first is not None:
                _add_senders(connection, usage)
                _add_selectors(connection, usage, first, most)
                _add_starts(connection, usage, first)
            usage.rules = {name: RuleUse(*more) for name, *more in _rows(connection, _RULES)}
        return usage

    def last_uses(self, rows: Sequence[int]) -> dict[int, LastUse]:
        """Return what a review says of these rows of requests."""
        with self.reading() as connection:
            found = _rows(connection, _LAST_USES, json.dumps(rows))
            return {row: LastUse(*more) for row, *more in found}

    def last_names(self, task_ids: Sequence[str]) -> dict[str, str]:
        """Return the names that tasks had at their last start; a task never started is left out."""
        with self.reading() as connection:
            return {task: name for task, name in _rows(connection, _NAMES, json.dumps(task_ids)) if name}


# ---- helpers


class _Uses:
    """The selectors of one sort; those that differ in letter case only mean the same."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._uses: dict[tuple[SelectorKind, AnyCase, AnyCase], SelectorUse] = {}
        self.dropped = 0

    def add(self, selector: Selector, row: int, requests: int = 1) -> None:
        """Count so many requests, the last of them in *row*."""
        key = selector.kind, any_case(selector.value), any_case(selector.name)
        use = self._uses.setdefault(key, SelectorUse(selector))
        use.requests += requests
        if row >= use.last:
            use.last, use.selector = row, selector
        if len(self._uses) >= 2 * self._most:
            self._drop()

    def all(self) -> list[SelectorUse]:
        """Return them, used by the most requests first."""
        if len(self._uses) > self._most:
            self._drop()
        return sorted(self._uses.values(), key=lambda use: (-use.requests, -use.last))

    def _drop(self) -> None:
        newest = sorted(self._uses.items(), key=lambda one: one[1].last)[-self._most :]
        self.dropped += len(self._uses) - len(newest)
        self._uses = dict(newest)


def _add_senders(connection: Connection, usage: Usage) -> None:
    for part in _BOTH:
        for sender, _, count, first, last in _rows(connection, _SENDERS.format(part), usage.since):
            usage.requests += count
            if sender is None:
                continue
            known = usage.senders.setdefault(sender, SenderUse(0, 0, first, last))
            # The few open requests are of days that have others.
            known.days += part == CLOSED or not known.days
            known.requests += count
            known.first, known.last = min(known.first, first), max(known.last, last)


def _add_selectors(connection: Connection, usage: Usage, first: int, most: int) -> None:
    asked, not_found = _Uses(most), _Uses(most)
    for row, count, tags in _rows(connection, _TAGS, first):
        for selector in selectors_of({"tag": json.loads(tags)}):
            asked.add(selector, row, count)
    for row, missing, values, stages in _rows(connection, _DOCUMENTS, first, usage.since):
        for entry in json.loads(missing or "[]"):
            for selector in _selectors(entry):
                not_found.add(selector, row)
        holders = [{"customProperty": json.loads(values)}] if values else []
        holders += json.loads(stages) if stages else []
        for selector in {one for holder in holders for one in selectors_of(holder)}:
            if selector.kind in {SelectorKind.TAG, SelectorKind.CUSTOM_PROPERTY}:
                asked.add(selector, row)
    usage.asked, usage.not_found = asked.all(), not_found.all()
    usage.dropped = asked.dropped + not_found.dropped


def _add_starts(connection: Connection, usage: Usage, first: int) -> None:
    newest: dict[str, int] = {}
    for task, state, by_id, count, start, request in _rows(connection, _STARTS, first):
        known = usage.tasks.setdefault(task, TaskUse())
        known.last = max(known.last, request)
        known.by_id = max(known.by_id, request if by_id else 0)
        known.states[state] = known.states.get(state, 0) + count
        newest[task] = max(newest.get(task, 0), start)
    for task, name in _rows(connection, _NAMES_OF_STARTS, json.dumps(list(newest.values()))):
        usage.tasks[task].name = name


def _selectors(entry: Mapping[str, Any]) -> tuple[Selector, ...]:
    return selectors_of({kind.value: [entry[kind.value]] for kind in SelectorKind if kind.value in entry})


def _rows(connection: Connection, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(query, values)
        while some := cursor.fetchmany(1000):
            yield from some
