"""
Starts whose task is read once more before the POST.

The intent keeps what the server showed before the POST, so that ids can tell
later what is new. That needs a reading that is younger than the start: there is
none after a restart, and a task read for an earlier request may be some
seconds old. The gates need one that is not older than that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.steady_clock import elapsed_ms_at


@dataclass(slots=True, eq=False)
class _Held:
    """Starts of one task, held since a monotonic time; `read_at` is in ms since the machine was started."""

    starts: list[OpenStart]
    since: float
    read_at: int = 0


class TaskRefresh:
    """
    Holds the starts of a task, which share a run, until the task has been read.

    Args:
        request: Asks for a task by its id; what is read comes back through `read`.
    """

    def __init__(self, request: Callable[[str], None]) -> None:
        self._request = request
        self._held: dict[str, _Held] = {}
        self._ready: deque[_Held] = deque()

    def __len__(self) -> int:
        return len(self._held) + len(self._ready)

    def hold(self, starts: list[OpenStart]) -> None:
        """Hold *starts*, all of one task of which no others are held, until it has been read after now."""
        task_id = starts[0].task.id
        self._held[task_id] = _Held(starts, time.monotonic())
        self._request(task_id)

    def read(self, tasks: Mapping[str, Task | None], asked_at: float) -> None:
        """Apply tasks as they were read at the monotonic time *asked_at*; None: not shown."""
        for task_id, task in tasks.items():
            held = self._held.get(task_id)
            if held is None or held.since > asked_at:
                continue
            del self._held[task_id]
            for start in held.starts:
                start.task = task or start.task
                start.unread = start.found_before = False
                start.judged = None  # by what its task was before
            held.read_at = elapsed_ms_at(asked_at)
            self._ready.append(held)

    def starts(self) -> Iterator[OpenStart]:
        """Return all starts that are held."""
        for held in (*self._held.values(), *self._ready):
            yield from held.starts

    def take(self) -> tuple[list[OpenStart], int] | None:
        """
        Return the starts of a task that has been read, None if there are none.

        With them comes when it was read, in milliseconds since the machine was started.
        """
        if not self._ready:
            return None
        held = self._ready.popleft()
        return held.starts, held.read_at

    def remove(self, chosen: Callable[[OpenStart], bool]) -> list[str]:
        """Remove the starts for which *chosen* is true; return the ids of the tasks that have none left."""
        empty: list[str] = []
        for held in (*self._held.values(), *self._ready):
            task_id = held.starts[0].task.id
            held.starts = [start for start in held.starts if not chosen(start)]
            if not held.starts:
                empty.append(task_id)
        self._held = {task_id: held for task_id, held in self._held.items() if held.starts}
        self._ready = deque(held for held in self._ready if held.starts)
        return empty

    def reset(self) -> None:
        """Forget all starts; they are read again from the journal."""
        self._held.clear()
        self._ready.clear()
