"""Asks the Qlik server to stop an execution: a poll that shows it, then one call."""

from __future__ import annotations

from typing import Protocol

from butler_mqtt.domain.completions import StopAsked, StopOutcome
from butler_mqtt.domain.model import Task, TaskSnapshot
from butler_mqtt.errors import QlikError


class TaskStopper(Protocol):
    """The side of the Qlik server that stops tasks."""

    def snapshot(self, task: Task) -> TaskSnapshot:
        """Read a task with its sessions and results; raises QlikUnavailable or QlikRefused."""

    def stop_task(self, task: Task) -> None:
        """Stop whatever runs of a task; raises QlikUnavailable, QlikRefused or OutcomeUnknown."""


def ask(qlik: TaskStopper, task: Task, execution_id: str) -> StopAsked:
    """
    Stop *task* if the execution with this id is what runs of it.

    Qlik Sense stops a task, whichever execution of it runs, so it is asked right
    after it has shown which one that is.
    """
    try:
        running = {one.id for one in qlik.snapshot(task).executions if one.session}
        if execution_id not in running:
            return StopAsked(execution_id, StopOutcome.OVER)
        if len(running) > 1:
            return StopAsked(execution_id, StopOutcome.NOT_ALONE)
        qlik.stop_task(task)
    except QlikError as error:
        return StopAsked(execution_id, error)
    return StopAsked(execution_id, StopOutcome.ASKED)
