"""
Starts whose task is read once more before the POST.

The intent keeps what the server showed before the POST, so that ids can tell
later what is new. That needs a reading that is younger than the start: there is
none after a restart, and a task read for an earlier request may be some
seconds old.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart


@dataclass(slots=True, eq=False)
class _Held:
    starts: list[OpenStart]
    since: float


class TaskRefresh:
    """
    Holds the starts of a task, which share a run, until the task has been read.

    Args:
        request: Asks for a task by its id; what is read comes back through `read`.
    """

    def __init__(self, request: Callable[[str], None]) -> None:
        self._request = request
        self._held: dict[str, _Held] = {}
        self._ready: deque[list[OpenStart]] = deque()

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
            self._ready.append(held.starts)

    def starts(self) -> Iterator[OpenStart]:
        """Return all starts that are held."""
        for held in self._held.values():
            yield from held.starts
        for ready in self._ready:
            yield from ready

    def take(self) -> list[OpenStart]:
        """Return the starts of a task that has been read; empty if there are none."""
        return self._ready.popleft() if self._ready else []

    def remove(self, chosen: Callable[[OpenStart], bool]) -> list[str]:
        """Remove the starts for which *chosen* is true; return the ids of the tasks that have none left."""
        empty: list[str] = []
        for starts in [*(held.starts for held in self._held.values()), *self._ready]:
            task_id = starts[0].task.id
            starts[:] = [start for start in starts if not chosen(start)]
            if not starts:
                empty.append(task_id)
        self._held = {task_id: held for task_id, held in self._held.items() if held.starts}
        self._ready = deque(starts for starts in self._ready if starts)
        return empty

    def reset(self) -> None:
        """Forget all starts; they are read again from the journal."""
        self._held.clear()
        self._ready.clear()
