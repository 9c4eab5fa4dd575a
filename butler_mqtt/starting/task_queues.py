"""
Starts that wait for their turn: one queue for each task, requests served in turn.

A request of many tasks gets one of them each time its turn comes, so that it
does not keep a request of one task waiting for all of them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator

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
        #: Tasks whose turn it may be, by the request of the first start in their queue; requests in turn.
        self._ready: OrderedDict[int, deque[str]] = OrderedDict()
        self._waiting = 0
        self._recorded = 0
        #: How many of them expire.
        self.expiring = 0

    def __len__(self) -> int:
        return self._waiting

    @property
    def fresh(self) -> int:
        """Count those that are not recorded as waiting."""
        return self._waiting - self._recorded

    def clear(self) -> None:
        """Forget all starts, and which tasks are taken."""
        self._queues.clear()
        self._taken.clear()
        self._ready.clear()
        self._waiting = self._recorded = self.expiring = 0

    def add(self, start: OpenStart) -> None:
        """Let *start* wait at the end of its task's queue."""
        task_id = start.task.id
        queue = self._queues.setdefault(task_id, deque())
        queue.append(start)
        self._count(start, 1)
        if len(queue) == 1 and task_id not in self._taken:
            self._make_ready(task_id)

    def take(self) -> OpenStart | None:
        """Return the start whose turn it is, None if every queue is empty or taken."""
        while self._ready:
            request, tasks = self._ready.popitem(last=False)
            task_id = tasks.popleft()
            if tasks:  # behind all others
                self._ready[request] = tasks
            queue = self._queues.get(task_id)
            if queue and task_id not in self._taken:
                self._taken.add(task_id)
                start = queue.popleft()
                self._count(start, -1)
                return start
        return None

    def starts(self) -> Iterator[OpenStart]:
        """Return the starts of all queues."""
        for queue in self._queues.values():
            yield from queue

    def of(self, task_id: str) -> Collection[OpenStart]:
        """Return the starts of one task that wait for their turn."""
        return self._queues.get(task_id, ())

    def places(self) -> Iterator[tuple[int, OpenStart]]:
        """
        Return all starts with their places, 1 for what is taken next.

        Starts of one task have the place of their task, those of a task in hand
        come after all whose turn it may be.
        """
        in_turn = [deque(tasks) for tasks in self._ready.values()]
        order: dict[str, None] = {}
        while in_turn:
            for tasks in in_turn:
                order[tasks.popleft()] = None
            in_turn = [tasks for tasks in in_turn if tasks]
        order |= dict.fromkeys(self._queues)
        place = 0
        for task_id in order:
            queue = self._queues.get(task_id, ())
            place += bool(queue)
            for start in queue:
                yield place, start

    def all_recorded(self) -> None:
        """Note that all starts are recorded as waiting by now."""
        self._recorded = self._waiting

    def is_taken(self, task_id: str) -> bool:
        """Return whether a run of the task is in hand."""
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
            self._make_ready(task_id)
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
                self._not_ready(task_id)
            for start in removed:
                self._count(start, -1)
        return removed

    # ---- helpers

    def _count(self, start: OpenStart, change: int) -> None:
        self._waiting += change
        self.expiring += change * (start.expires_at is not None)
        self._recorded += change * (start.state is StartState.WAITING)

    def _make_ready(self, task_id: str) -> None:
        self._ready.setdefault(self._queues[task_id][0].request_row, deque()).append(task_id)

    def _not_ready(self, task_id: str) -> None:
        # Not by the request of its first start, which may be another by now.
        for request, tasks in self._ready.items():
            if task_id in tasks:
                tasks.remove(task_id)
                if not tasks:
                    del self._ready[request]
                return
