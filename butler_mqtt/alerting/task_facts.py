"""What alerts say of tasks and select them by, kept since executions that go on do not show it."""

from __future__ import annotations

import json
from typing import NamedTuple

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.journal import alert_rows, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import AlertTarget


class _Facts(NamedTuple):
    app: str = ""
    tags: tuple[str, ...] = ()
    custom_properties: tuple[tuple[str, str], ...] = ()

    def encode(self) -> str:
        return json.dumps(self)


class TaskFacts:
    """Knows the tasks that were read since alerts are on; one row for each, written when it changed."""

    def __init__(self, turn: UnitOfWork) -> None:
        self._turn = turn
        self._rows: dict[str, int] = {}
        self._known: dict[str, _Facts] = {}

    def load(self, transaction: Transaction) -> None:
        """Read what is in the journal."""
        self._rows.clear()
        self._known.clear()
        for row in alert_rows.tasks(transaction):
            app, tags, pairs = json.loads(row["content"])
            self._rows[row["task_id"]] = row["id"]
            self._known[row["task_id"]] = _Facts(
                app, tuple(tags), tuple((name, value) for name, value in pairs)
            )

    def note(self, task: Task) -> None:
        """Keep what was read of a task; nothing where only its id and name are known."""
        if task.enabled is None:
            return
        facts = _Facts(task.app_name or task.app_id or "", task.tags, task.custom_properties)
        if self._known.get(task.id) == facts:
            return
        self._known[task.id] = facts
        row = self._rows.get(task.id)
        if row is not None:
            self._turn.unit.update(tables.alert_tasks, row, content=facts.encode())
            return
        row = self._rows[task.id] = self._turn.new_id(tables.alert_tasks)
        self._turn.unit.insert(tables.alert_tasks, {"id": row, "task_id": task.id, "content": facts.encode()})

    def app(self, task: Task) -> str:
        """Return the name of a task's app, its id where only that is known."""
        return self._known.get(task.id, _Facts()).app

    def wanted(self, target: AlertTarget, task: Task) -> bool:
        """Return whether a target hears of a task, by the rules of `startTaskFilter`."""
        if not target.tags and not target.custom_properties:
            return True
        facts = self._known.get(task.id, _Facts())
        known = Task(task.id, task.name, tags=facts.tags, custom_properties=facts.custom_properties)
        return any(Selector(SelectorKind.TAG, tag).matches(known) for tag in target.tags) or any(
            Selector(SelectorKind.CUSTOM_PROPERTY, value, name).matches(known)
            for name, value in target.custom_properties
        )
