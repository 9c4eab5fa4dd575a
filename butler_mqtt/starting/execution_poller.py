"""Reads executions, script logs and the site's capacity, in a thread of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.domain.completions import CapacityRead, Completion, ExecutionsPolled
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.errors import QlikError
from butler_mqtt.starting.script_logs import ScriptLogReader, ScriptLogs

_log = logging.getLogger("butler_mqtt.execution_poller")


class ExecutionReader(ScriptLogReader, Protocol):
    """The side of the Qlik server that shows executions."""

    def executions(self, ids: Sequence[str]) -> Mapping[str, Execution | None]:
        """Read executions by id; raises QlikUnavailable or QlikRefused."""

    def capacity(self) -> int:
        """Read how many reloads the site runs at one time; raises as `executions`."""


class ExecutionPoller:
    """
    Polls many executions with one call.

    Args:
        emit: Submits an event to the pipeline; called from the thread in `work`.
        log_lines: Last lines of the script log to read of a failed reload; 0 reads none.
        monotonic: The clock for `asked_at`.
    """

    def __init__(
        self,
        emit: Callable[[Completion], None],
        *,
        log_lines: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        #: The script logs that are read with them.
        self.logs = ScriptLogs(log_lines)
        self._monotonic = monotonic
        #: Executions with their tasks; an empty job reads the capacity, None is the end.
        self._jobs: SimpleQueue[Sequence[tuple[str, Task]] | None] = SimpleQueue()

    def poll(self, executions: Sequence[tuple[str, Task]]) -> None:
        """Have the thread read executions, by id with their tasks."""
        self._jobs.put(executions)

    def ask_capacity(self) -> None:
        """Have the thread read how many reloads the site runs at one time."""
        self._jobs.put(())

    def stop(self) -> None:
        """Let `work` end after the job in hand."""
        self._jobs.put(None)

    def work(self, qlik: ExecutionReader) -> None:
        """Read, job by job, until `stop`; runs in a thread of its own."""
        while (job := self._jobs.get()) is not None:
            if job:
                self._poll(qlik, job)
            else:
                self._read_capacity(qlik)

    def _poll(self, qlik: ExecutionReader, job: Sequence[tuple[str, Task]]) -> None:
        asked_at = self._monotonic()
        try:
            shown = qlik.executions([one for one, _ in job])
        except QlikError as error:
            self._emit(ExecutionsPolled(error, {}))
            return
        failed = [
            (task, execution)
            for one, task in job
            if (execution := shown.get(one)) is not None and self.logs.wanted(task, execution)
        ]
        without = {execution.id for _, execution in failed}
        self._emit(
            ExecutionsPolled(
                {one: execution for one, execution in shown.items() if one not in without}, {}, asked_at
            )
        )
        # One by one, so that many logs, or a slow one, delay nothing else.
        for task, execution in failed:
            self._emit(self.logs.read(qlik, task, execution))

    def _read_capacity(self, qlik: ExecutionReader) -> None:
        try:
            self._emit(CapacityRead(qlik.capacity()))
        except QlikError as error:
            _log.info(
                "how many reloads the site runs at one time cannot be read: %s",
                error,
                extra={"action": "capacity_unknown"},
            )
