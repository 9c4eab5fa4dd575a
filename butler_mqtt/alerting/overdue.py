"""Tasks that must succeed regularly, whoever starts them: how long each has not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from butler_mqtt.alerting.task_alerts import TaskAlerts
from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.model import ExecutionStatus, Selector, SelectorKind, Task
from butler_mqtt.journal import alert_rows, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.printable import duration
from butler_mqtt.settings import OverdueEntry

#: Task of the row that says since when an entry is known, and since when its tasks are.
_ENTRY: Final = ""

_log = logging.getLogger("butler_mqtt.alerting")


def selector(entry: OverdueEntry) -> Selector:
    """Return the selector of an entry."""
    return Selector(SelectorKind(entry.kind), entry.value, entry.name)


@dataclass(slots=True)
class _Counted:
    """Since when a task has not succeeded, and since when that is too long; milliseconds since 1970."""

    row: int
    since: int
    overdue_at: int | None = None


class OverdueTasks:
    """
    Counts from the last success that is known: the server's, or one of ours.

    Only what the server has just shown is judged, so that its outage is none of a task.

    Args:
        turn: Gathers the rows.
        tasks: Writes the alerts.
        now: The present time in milliseconds since 1970.
    """

    def __init__(self, turn: UnitOfWork, tasks: TaskAlerts, now: Callable[[], int] = now_ms) -> None:
        self._now = now
        self._turn = turn
        self._tasks = tasks
        self._entries: dict[str, OverdueEntry] = {}
        self._counted: dict[tuple[str, str], _Counted] = {}
        self._named_empty: set[str] = set()

    def configure(self, entries: Iterable[OverdueEntry]) -> None:
        """Judge by these entries from now on: others are forgotten, new ones count from now."""
        self._entries = {key(one): one for one in entries}
        for gone in [one for one in self._counted if one[0] not in self._entries]:
            self._turn.unit.delete(tables.overdue_tasks, self._counted.pop(gone).row)
        self._count_new()

    def pause(self) -> None:
        """Judge nothing any more; what was counted stays in the journal."""
        self._entries = {}
        self._counted.clear()

    def load(self, transaction: Transaction, entries: Iterable[OverdueEntry]) -> None:
        """Judge by *entries*, and go on with what is in the journal."""
        self._counted.clear()
        self._entries = {key(one): one for one in entries}
        for row in alert_rows.overdue(transaction):
            if row["entry"] in self._entries:
                self._counted[row["entry"], row["task_id"]] = _Counted(
                    row["id"], row["counted_from"], row["overdue_at"]
                )
            else:
                self._turn.unit.delete(tables.overdue_tasks, row["id"])
        self._count_new()

    def succeeded(self, task: Task) -> None:
        """Note that an execution of ours has succeeded."""
        for entry in self._entries:
            counted = self._counted.get((entry, task.id))
            if counted is not None:
                self._success(task, counted, self._now())

    def read(self, found: Mapping[Selector, Sequence[Task]], server_time: datetime | None) -> None:
        """Judge what the server shows, by its own clock: *found* are the tasks of each entry."""
        for entry, settings in self._entries.items():
            tasks = found.get(selector(settings))
            if tasks is None:
                continue
            self._forget(entry, {task.id for task in tasks})
            if tasks:
                self._named_empty.discard(entry)
            elif entry not in self._named_empty:
                self._named_empty.add(entry)
                self._turn.after(_log_empty, settings)
            # A task that comes later counts from when it was seen, not from when the entry was.
            known = self._counted[entry, _ENTRY]
            first = known.overdue_at is None
            if first and tasks:
                known.overdue_at = self._now()
                self._turn.unit.update(tables.overdue_tasks, known.row, overdue_at=known.overdue_at)
            for task in tasks:
                self._judge(entry, settings, task, server_time, first=first)

    # ---- helpers

    def _judge(
        self, entry: str, settings: OverdueEntry, task: Task, server_time: datetime | None, *, first: bool
    ) -> None:
        now = self._now()
        success = _last_success(task, server_time, now)
        counted = self._counted.get((entry, task.id))
        if counted is None:
            since = self._counted[entry, _ENTRY].since if first else now
            counted = self._count(entry, task.id, since if success is None else success)
        elif success is not None and success > counted.since + 1000:
            self._success(task, counted, success)
        if counted.overdue_at is None and now - counted.since >= 1000 * settings.every_seconds:
            counted.overdue_at = now
            self._turn.unit.update(tables.overdue_tasks, counted.row, overdue_at=now)
            allowed = duration(settings.every_seconds)
            self._tasks.overdue(task, f"no success for more than {allowed}", counted.since)

    def _success(self, task: Task, counted: _Counted, when: int) -> None:
        before, counted.since = counted.since, when
        was, counted.overdue_at = counted.overdue_at, None
        self._turn.unit.update(tables.overdue_tasks, counted.row, counted_from=when, overdue_at=None)
        if was is not None:
            gone = duration((when - before) / 1000)
            self._tasks.in_time(task, f"it succeeded at {stamp_ms(when)}, after {gone} without")

    def _count(self, entry: str, task_id: str, since: int) -> _Counted:
        row = self._turn.new_id(tables.overdue_tasks)
        self._turn.unit.insert(
            tables.overdue_tasks, {"id": row, "entry": entry, "task_id": task_id, "counted_from": since}
        )
        counted = self._counted[entry, task_id] = _Counted(row, since)
        return counted

    def _count_new(self) -> None:
        for entry in self._entries:
            if (entry, _ENTRY) not in self._counted:
                self._count(entry, _ENTRY, self._now())

    def _forget(self, entry: str, there: set[str]) -> None:
        """Forget tasks that an entry does not mean any more."""
        for gone in [one for one in self._counted if one[0] == entry and one[1] not in {_ENTRY, *there}]:
            self._turn.unit.delete(tables.overdue_tasks, self._counted.pop(gone).row)


def key(entry: OverdueEntry) -> str:
    """Return what tells an entry from others, for the journal."""
    name = f"{entry.name}=" if entry.name else ""
    return f"{entry.kind} {name}{entry.value} {entry.every_seconds:g}"


def _last_success(task: Task, server_time: datetime | None, now: int) -> int | None:
    """Return when the server shows that a task succeeded last, by this machine's clock."""
    last = task.last
    if last is None or last.status != ExecutionStatus.FINISHED_SUCCESS or last.stopped is None:
        return None
    if server_time is None:
        return None
    return now - max(0, round(1000 * (server_time - last.stopped).total_seconds()))


def _log_empty(entry: OverdueEntry) -> None:
    name = f"{entry.name}=" if entry.name else ""
    _log.warning(
        "alerts.overdue: the Qlik server shows no task with %s %s%s: nothing is watched there",
        entry.kind,
        name,
        entry.value,
        extra={"action": "overdue_no_task"},
    )
