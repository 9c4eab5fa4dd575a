"""Of which executions the script log is read, and the reading: in the thread that polls executions."""

from __future__ import annotations

import logging
from typing import Protocol

from butler_mqtt.domain.completions import ExecutionsPolled
from butler_mqtt.domain.model import Execution, ExecutionStatus, Task, TaskType
from butler_mqtt.errors import QlikError, QlikRefused

#: How an execution ended whose script log is read.
_READ_FOR = frozenset({ExecutionStatus.FINISHED_FAIL, ExecutionStatus.ERROR})

_log = logging.getLogger("butler_mqtt.execution_poller")


class ScriptLogReader(Protocol):
    """The side of the Qlik server that shows script logs."""

    def script_log(self, task_id: str, execution: Execution, lines: int) -> list[str] | None:
        """Read the last lines, None while there is none; raises QlikUnavailable or QlikRefused."""


class ScriptLogs:
    """
    Reads the script logs of failed reloads.

    Args:
        lines: How many of the last are read; 0 reads none.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def wanted(self, task: Task, execution: Execution) -> bool:
        """Return whether an execution is a failed reload whose script log is to be read."""
        return (
            self._lines > 0
            and task.task_type in {None, TaskType.RELOAD}
            and not execution.active
            and execution.status in _READ_FOR
        )

    def read(self, qlik: ScriptLogReader, task: Task, execution: Execution) -> ExecutionsPolled:
        """Read the log of a failed reload; one that cannot be read costs nothing else."""
        lines: list[str] | None
        try:
            lines = qlik.script_log(task.id, execution, self._lines)
        except QlikError as error:
            _log.info(
                "the script log of task %s (%s) cannot be read: %s",
                task.name,
                task.id,
                error,
                extra={"action": "script_log_refused"},
            )
            # An unreachable server may return it at the next poll.
            lines = [] if isinstance(error, QlikRefused) else None
        execution_id = execution.id or ""
        return ExecutionsPolled({execution_id: execution}, {} if lines is None else {execution_id: lines})
