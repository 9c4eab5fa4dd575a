"""Starts that wait for their turn: one queue for each task, queues served in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState


class TaskQueues:
    """
    Keeps starts of one task in order of arrival and apart in time.

    A task is taken by `take` and stays taken until `release`: between them no
    other start of it is returned.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[OpenStart]] = {}
        self._taken: set[str] = set()
        self._ready: deque[str] = deque()
        self._waiting = 0
        #: How many of them expire.
        self.expiring = 0

    def __len__(self) -> int:
        return self._waiting

    def clear(self) -> None:
        """Forget all starts, and which tasks are taken."""
        self._queues.clear()
        self._taken.clear()
        self._ready.clear()
        self._waiting = self.expiring = 0

    def add(self, start: OpenStart) -> None:
        """Let *start* wait at the end of its task's queue."""
        task_id = start.task.id
        queue = self._queues.setdefault(task_id, deque())
        queue.append(start)
        self._waiting += 1
        self.expiring += start.expires_at is not None
        if len(queue) == 1 and task_id not in self._taken:
            self._ready.append(task_id)

    def take(self) -> OpenStart | None:
        """Return the start whose turn it is, None if every queue is empty or taken."""
        while self._ready:
            task_id = self._ready.popleft()
            queue = self._queues.get(task_id)
            if queue and task_id not in self._taken:
                self._taken.add(task_id)
                self._waiting -= 1
                start = queue.popleft()
                self.expiring -= start.expires_at is not None
                return start
        return None

    def starts(self) -> Iterator[OpenStart]:
        """Return the starts of all queues."""
        for queue in self._queues.values():
            yield from queue

    def planned(self) -> list[OpenStart]:
        """Return the starts of all queues that are not recorded as waiting."""
        return [
            start for queue in self._queues.values() for start in queue if start.state is StartState.PLANNED
        ]

    def is_taken(self, task_id: str) -> bool:
        """Tell whether a run of the task is in hand."""
        return task_id in self._taken

    def occupy(self, task_id: str) -> None:
        """Take a task without a start: a run of it was read from the journal."""
        self._taken.add(task_id)

    def release(self, task_id: str) -> None:
        """Let the next start of the task have its turn; nothing happens unless the task is taken."""
        if task_id not in self._taken:
            return
        self._taken.remove(task_id)
        if self._queues.get(task_id):
            self._ready.append(task_id)
        else:
            self._queues.pop(task_id, None)

    def remove(self, chosen: Callable[[OpenStart], bool]) -> list[OpenStart]:
        """Remove and return all waiting starts for which *chosen* is true."""
        return [start for task_id in list(self._queues) for start in self.remove_of(task_id, chosen)]

    def remove_of(self, task_id: str, chosen: Callable[[OpenStart], bool]) -> list[OpenStart]:
        """Remove and return the waiting starts of one task for which *chosen* is true."""
        queue = self._queues.get(task_id, ())
        # Asked once for each: the answer may change with time.
        removed = [start for start in queue if chosen(start)]
        if removed:
            gone = {id(start) for start in removed}
            left = deque(start for start in queue if id(start) not in gone)
            self._queues[task_id] = left
            if not left and task_id not in self._taken:
                del self._queues[task_id]
                self._ready.remove(task_id)
            self._waiting -= len(removed)
            self.expiring -= sum(start.expires_at is not None for start in removed)
        return removed
