"""Starts that wait: behind an execution of their task, or for their time."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from butler_mqtt.clock import now_ms
from butler_mqtt.model import Task
from butler_mqtt.records import OpenStart
from butler_mqtt.states import StartState

#: Seconds after which a task is tried again whose running execution has no id to follow.
BLIND_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _Group:
    """The starts that wait behind one execution; all of them share the next run."""

    task: Task
    behind: str | None
    free: bool = False
    since: float = 0.0
    starts: list[OpenStart] = field(default_factory=list)


class Waiting:
    """Keeps starts until the execution before them has ended, or until their `notBefore`."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._timed: list[tuple[int, int, OpenStart]] = []
        self._expiring: list[tuple[int, int, OpenStart]] = []
        self._sequence = count()

    def behind(self, task_id: str) -> tuple[bool, str | None]:
        """Tell whether starts of the task have to wait now, and behind which execution."""
        group = self._groups.get(task_id)
        blocked = group is not None and not group.free
        return blocked, group.behind if group is not None and blocked else None

    def block(self, task: Task, execution_id: str | None) -> None:
        """Let starts of *task* wait behind an execution (None: one without an id)."""
        group = self._groups.setdefault(task.id, _Group(task, execution_id))
        group.behind, group.free, group.since = execution_id, False, time.monotonic()

    def add(self, start: OpenStart) -> None:
        """Let *start* wait with the others of its task, which is blocked."""
        group = self._groups[start.task.id]
        start.task = group.task
        group.starts.append(start)
        self._may_expire(start)

    def until(self, start: OpenStart, moment: int) -> None:
        """Let *start* wait until *moment*, in milliseconds since 1970."""
        heapq.heappush(self._timed, (moment, next(self._sequence), start))
        self._may_expire(start)

    def free(self, task_id: str, execution_id: str | None) -> None:
        """Note that an execution has ended: what waits behind it may go."""
        group = self._groups.get(task_id)
        if group is not None and group.behind == execution_id:
            group.free = True

    def join(self, task_id: str) -> list[OpenStart]:
        """Give all starts that wait for the task, to share a run that begins now."""
        group = self._groups.get(task_id)
        if group is None:
            return []
        starts = [start for start in group.starts if start.state is StartState.WAITING]
        group.starts = []
        if group.free:
            del self._groups[task_id]
        return starts

    def take(self, taken: Callable[[str], bool]) -> list[OpenStart]:
        """Give the starts of one task that may go now and is not *taken*; empty if there is none."""
        now = time.monotonic()
        for task_id, group in list(self._groups.items()):
            if group.behind is None and now - group.since >= BLIND_SECONDS:
                group.free = True
            if group.free and not taken(task_id):
                starts = self.join(task_id)
                if starts:
                    return starts
        return []

    def due(self) -> Iterable[OpenStart]:
        """Give the starts whose time has come."""
        now = now_ms()
        while self._timed and self._timed[0][0] <= now:
            start = heapq.heappop(self._timed)[2]
            if start.state is StartState.WAITING:
                yield start

    def expired(self) -> list[OpenStart]:
        """Give waiting starts whose request's time is over; those in a run are left to it."""
        now = now_ms()
        gone = []
        while self._expiring and self._expiring[0][0] <= now:
            start = heapq.heappop(self._expiring)[2]
            if start.state is StartState.WAITING and start.run is None:
                gone.append(start)
        return gone

    def _may_expire(self, start: OpenStart) -> None:
        if start.expires_at is not None:
            heapq.heappush(self._expiring, (start.expires_at, next(self._sequence), start))
