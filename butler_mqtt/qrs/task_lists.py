"""
Tasks by selectors, whichever lists this server has.

Three traps of the QRS are handled here. A filter that it does not understand
is refused as a whole, so the refused query is cut in halves until the bad
selector is alone. The documented form of `/qrs/task` lacks custom properties,
which servers show nevertheless: where one does not, the concrete kinds are
asked. And lists may be cut silently, so their length is compared with a count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_count import KINDS, count_tasks

log = logging.getLogger("butler_mqtt.qrs")

#: A list this long may have been cut. The one report of a limit says 100 by default; it can be set.
MAYBE_CUT = 10
#: Tasks left out of a question by their ids, about 11 KB of the URL. Together with a list of 100 this
#: reaches beyond the tasks that one request may start by default (200).
MAX_EXCLUDED = 200
#: Statuses of a server that does not understand a filter or finds the address too long.
NOT_UNDERSTOOD = frozenset({400, 414})
#: Selectors by what only the whole form of a task shows.
_BY_CONTENT = frozenset({SelectorKind.TAG, SelectorKind.CUSTOM_PROPERTY})

Entries = list[Mapping[str, object]]
Refusals = dict[Selector, QlikRefused]


class Read(Protocol):
    """A retrying read: the JSON of the answer, or `QlikUnavailable` or `QlikRefused`."""

    def __call__(self, path: str, query: str = "") -> object:
        """Read /qrs*path*; *query* is encoded already."""
        ...


@dataclass
class Form:
    """What this process has learned about the server; a lost write between threads only costs a query."""

    #: True: only the concrete kinds show everything. False: they show no more. None: no need to ask yet.
    concrete: bool | None = None
    #: Whether the common list has shown a whole task, with tags and custom properties.
    whole: bool = False
    #: Whether a quote in a string is escaped by another: learned once, where a backslash was refused.
    doubled_quotes: bool = False


class _ListCut(QlikRefused):
    """The server shows fewer tasks than it counts, and lists the rest in no other form."""


@dataclass
class TaskLists:
    """Resolves selectors for one connection; `form` is shared by all."""

    read: Read
    form: Form = field(default_factory=Form)

    def find(self, selectors: Iterable[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        """
        Resolve each selector to its tasks.

        Raises:
            QlikUnavailable: The server could not be asked.
            QlikRefused: The server refuses whatever is asked (rights, xrfkey, no such endpoint).
        """
        wanted = list(dict.fromkeys(selectors))
        entries: Entries = []
        refused: Refusals = {}
        for group in filters.groups([one for one in wanted if filters.can_be_asked(one)]):
            rows, refusals = self._group(group)
            entries += rows
            refused |= refusals
        tasks = {task.id: task for raw in entries if (task := json_fields.task(raw)) is not None}
        return {one: refused.get(one) or _matching(one, tasks) for one in wanted}

    def whole(self) -> tuple[Task, ...] | None:
        """
        Read all tasks with one list; None where it may lack some, or something of them.

        Raises:
            QlikUnavailable: The server could not be asked.
            QlikRefused: The server refuses to list tasks.
        """
        entries = json_fields.objects(self.read("/task/full"))
        if not all(json_fields.shows_everything(raw) for raw in entries):
            return None
        try:
            total = count_tasks(self.read)
        except QlikRefused:
            return None
        if total is None or total > len(entries):
            return None
        return tuple(task for raw in entries if (task := json_fields.task(raw)) is not None)

    def _group(self, group: Sequence[Selector]) -> tuple[Entries, Refusals]:
        if self.form.concrete:
            # Kinds of tasks that are not in KINDS are seen in the common list only,
            # which is known not to understand custom properties.
            plain = [one for one in group if one.kind is not SelectorKind.CUSTOM_PROPERTY]
            entries, refused = self._ask("task", plain) if plain else ([], {})
            rows, refusals = self._concrete(group)
            return entries + rows, {
                one: error for one, error in refusals.items() if one in refused or one not in plain
            }
        entries, refused = self._ask("task", group)
        lacking = any(not json_fields.shows_everything(raw) for raw in entries)
        unknown = any(one.kind is SelectorKind.CUSTOM_PROPERTY for one in refused)
        if any(json_fields.shows_everything(raw) for raw in entries):
            self.form.whole = True
        # A list that lacks tags and properties may find nothing by them instead of refusing the filter.
        blind = not entries and not refused and any(one.kind in _BY_CONTENT for one in group)
        if self.form.concrete is None and (lacking or unknown or (blind and not self.form.whole)):
            return self._learn(group, entries, refused)
        return entries, refused

    def _learn(
        self, group: Sequence[Selector], entries: Entries, refused: Refusals
    ) -> tuple[Entries, Refusals]:
        try:
            rows, refusals = self._concrete(group)
        except QlikRefused as error:
            if error.status in {401, 403}:
                raise
            # No such lists here: what the common list shows is all there is.
            self.form.concrete = False
            return entries, refused
        if any(json_fields.shows_everything(raw) for raw in rows) or len(refusals) < len(refused):
            self.form.concrete = True
            log.info(
                "The common task list of the Qlik server shows too little: reading %s from now on",
                ", ".join(KINDS),
                extra={"action": "qrs_form"},
            )
        elif rows:
            self.form.concrete = False
        # The concrete form of a task stands later, and so replaces the common one.
        return entries + rows, {one: error for one, error in refusals.items() if one in refused}

    def _concrete(self, group: Sequence[Selector]) -> tuple[Entries, Refusals]:
        answers: list[tuple[Entries, Refusals]] = []
        unknown_kind: QlikRefused | None = None
        for path in KINDS:
            try:
                answers.append(self._ask(path, group))
            except QlikRefused as error:
                # A server that does not know one kind has no tasks of it.
                if error.status != 404:
                    raise
                unknown_kind = error
        if not answers and unknown_kind is not None:
            raise unknown_kind
        # A kind that does not know a property refuses the filter, and so has no such task.
        everywhere = set.intersection(*(set(refused) for _, refused in answers))
        return (
            [raw for entries, _ in answers for raw in entries],
            {one: refusal for one, refusal in answers[0][1].items() if one in everywhere},
        )

    def _ask(self, path: str, group: Sequence[Selector]) -> tuple[Entries, Refusals]:
        try:
            return self._list_either_way(path, group), {}
        except QlikRefused as error:
            if error.status not in NOT_UNDERSTOOD and not isinstance(error, _ListCut):
                raise
            if len(group) == 1:
                return [], {group[0]: error}
        middle = len(group) // 2
        (left, refused), (right, others) = self._ask(path, group[:middle]), self._ask(path, group[middle:])
        return left + right, refused | others

    def _list_either_way(self, path: str, group: Sequence[Selector]) -> Entries:
        """Read the list; where quotes may be what is not understood, once more with the other escape."""
        try:
            return self._list(path, group, doubled=self.form.doubled_quotes)
        except QlikRefused as error:
            quotes = error.status == 400 and "cannot parse" in str(error).casefold()
            if self.form.doubled_quotes or not quotes or not any(map(filters.can_be_doubled, group)):
                raise
            try:
                entries = self._list(path, group, doubled=True)
            except QlikRefused as another:
                if another.status not in NOT_UNDERSTOOD:
                    raise
                raise error from None
        self.form.doubled_quotes = True
        log.info(
            "The Qlik server wants quotes in a filter doubled: so they are from now on",
            extra={"action": "qrs_form"},
        )
        return entries

    def _list(self, path: str, group: Sequence[Selector], *, doubled: bool) -> Entries:
        text = filters.join(group, doubled=doubled)
        query = f"filter={filters.encode(text)}"
        entries = json_fields.objects(self.read(f"/{path}/full", query))
        all_found = len(entries) >= len(group) and all(one.kind is SelectorKind.TASK_ID for one in group)
        if len(entries) < MAYBE_CUT or all_found:
            return entries
        try:
            total = (
                count_tasks(self.read, query)
                if path == "task"
                else json_fields.number(json_fields.part(self.read(f"/{path}/count", query), "value"))
            )
        except QlikRefused as error:
            log.warning(
                "A list of %d tasks cannot be checked for completeness: %s",
                len(entries),
                error,
                extra={"action": "qrs_count"},
            )
            return entries
        if total is None or total <= len(entries):
            return entries
        return self._rest(path, text, entries, total)

    def _rest(self, path: str, asked: str, entries: Entries, total: int) -> Entries:
        """Read what a cut list left out: the same question again, without the tasks seen so far."""
        found = list(entries)
        seen = _ids(found)
        while len(seen) < total and len(seen) <= MAX_EXCLUDED:
            text = f"({asked}) and {filters.none_of('id', sorted(seen))}"
            try:
                rows = json_fields.objects(self.read(f"/{path}/full", f"filter={filters.encode(text)}"))
            except QlikRefused as error:
                if error.status not in NOT_UNDERSTOOD:
                    raise
                break
            new = _ids(rows) - seen
            if not new:
                break
            found += rows
            seen |= new
        if len(seen) < total:
            raise _ListCut(
                f"the Qlik server shows only {len(seen)} of the {total} tasks it counts: raise its"
                " MaxRecordLimit, or name fewer tasks",
                200,
            )
        return found


def _ids(entries: Entries) -> set[str]:
    return {identity for raw in entries if (identity := json_fields.guid(raw.get("id"))) is not None}


def _matching(selector: Selector, tasks: Mapping[str, Task]) -> tuple[Task, ...]:
    """Judge again what came back: the server compares loosely and pairs a name with another's value."""
    if selector.kind is SelectorKind.TASK_ID:
        task = tasks.get(selector.value.lower())
        return (task,) if task is not None and selector.matches(task) else ()
    return tuple(task for task in tasks.values() if selector.matches(task))
