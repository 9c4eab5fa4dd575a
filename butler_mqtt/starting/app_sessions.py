"""
Another task of the same app as what keeps a start from beginning.

A start answered with the empty execution id, of whose task nothing runs, asks
what runs of its app (`qrs.app_executions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from butler_mqtt.domain.model import Execution, TaskSnapshot
from butler_mqtt.domain.reconciliation import may_run
from butler_mqtt.errors import QlikRefused


class AppReader(Protocol):
    """The side of the Qlik server that shows what runs of an app."""

    def app_executions(self, app_id: str) -> Sequence[Execution]:
        """Read what runs of an app, else what ran last; raises QlikUnavailable or QlikRefused."""


def with_app(qlik: AppReader, snapshot: TaskSnapshot) -> TaskSnapshot:
    """
    Return the *snapshot* after an empty execution id, with the executions of other tasks of the app.

    They are read only where the task itself shows no reason: nothing of it runs, it is enabled, and
    its app is available. Where the server refuses to show them they are left out.

    Raises:
        QlikUnavailable: The server could not be asked.
    """
    task = snapshot.task
    if task is None or task.app_id is None or not may_run(snapshot):
        return snapshot
    if any(one.session for one in snapshot.executions):
        return snapshot
    try:
        found = qlik.app_executions(task.app_id)
    except QlikRefused:
        return snapshot
    return replace(snapshot, of_app=tuple(one for one in found if one.task_id not in {None, task.id}))
