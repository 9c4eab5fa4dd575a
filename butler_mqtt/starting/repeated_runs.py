"""Runs to be posted again: nothing was sent, or what was sent began nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import Run
from butler_mqtt.steady_clock import elapsed_ms_at


class RepeatedRuns:
    """
    Keeps runs in order until they are posted again, or until their task has been read for that.

    Args:
        request: Asks for a task by its id; what is read comes back through `read`.
    """

    def __init__(self, request: Callable[[str], None]) -> None:
        self._request = request
        self._ready: deque[Run] = deque()
        #: Runs whose task is being read, with the monotonic time since when, by task.
        self._unread: dict[str, tuple[Run, float]] = {}

    def __iter__(self) -> Iterator[Run]:
        yield from self._ready
        yield from (run for run, _ in self._unread.values())

    def add(self, run: Run) -> None:
        """Accept a run; one of a task at a time."""
        self._ready.append(run)

    def take(self) -> Run | None:
        """Return the next run that may go; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def hold(self, run: Run) -> None:
        """Keep *run*, which was taken, until its task has been read after now."""
        self._unread[run.task.id] = (run, time.monotonic())
        self._request(run.task.id)

    def read(self, tasks: Mapping[str, Task | None], asked_at: float) -> list[Run]:
        """Apply tasks as they were read at the monotonic time *asked_at*; return the runs that may go now."""
        done: list[Run] = []
        for task_id, task in tasks.items():
            run, since = self._unread.get(task_id, (None, 0.0))
            if run is None or since > asked_at:
                continue
            del self._unread[task_id]
            # The baseline stays: what was sent before may have effect yet.
            run.task = task or run.task
            run.read_at = elapsed_ms_at(asked_at)
            self._ready.append(run)
            done.append(run)
        return done

    def remove(self, run: Run) -> None:
        """Forget *run*, which is not to be posted again."""
        if run in self._ready:
            self._ready.remove(run)
        else:
            del self._unread[run.task.id]

    def clear(self) -> None:
        """Forget all runs; they are read again from the journal."""
        self._ready.clear()
        self._unread.clear()
