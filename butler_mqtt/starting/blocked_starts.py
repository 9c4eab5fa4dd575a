"""Starts that wait: behind an execution of their task, or for their time."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState

#: Starts that may expire, from which on those that have begun are forgotten.
TIDY_AT = 1000


@dataclass(slots=True, eq=False)
class _Group:
    """The starts that wait behind one execution; all of them share the next run."""

    task: Task
    behind: str | None
    #: Monotonic time at which the server was last asked and showed that it runs.
    seen_at: float = 0.0
    starts: list[OpenStart] = field(default_factory=list)


class BlockedStarts:
    """
    Keeps starts until the execution before them has ended, or until their `notBefore`.

    Args:
        blind_retry: Seconds after which a task is tried again whose running execution has no id.
    """

    def __init__(self, blind_retry: float) -> None:
        self._blind_retry = blind_retry
        self._groups: dict[str, _Group] = {}
        #: Tasks whose group may go, in the order in which they became free.
        self._free: dict[str, None] = {}
        #: Tasks that wait behind an execution without an id, with the monotonic time of their next try.
        self._blind: deque[tuple[float, str]] = deque()
        self._timed: list[tuple[int, int, OpenStart]] = []
        #: Each start that may expire once, by its time and id.
        self._expiring: dict[int, OpenStart] = {}
        self._expiries: list[tuple[int, int]] = []
        self._tidy_at = TIDY_AT

    def clear(self) -> None:
        """Forget all starts."""
        self._groups.clear()
        self._free.clear()
        self._blind.clear()
        self._timed.clear()
        self._expiring.clear()
        self._expiries.clear()
        self._tidy_at = TIDY_AT

    def starts(self) -> Iterator[OpenStart]:
        """Return all starts that wait."""
        for group in self._groups.values():
            yield from group.starts
        yield from (start for _, _, start in self._timed if start.state is StartState.WAITING)

    def remove(self, gone: Collection[OpenStart]) -> None:
        """Forget starts; what has to wait for the same from now on still does."""
        for task_id in {start.task.id for start in gone} & self._groups.keys():
            group = self._groups[task_id]
            group.starts = [start for start in group.starts if start not in gone]
        if any(start.reason == "notBefore" for start in gone):
            self._timed = [entry for entry in self._timed if entry[2] not in gone]
            heapq.heapify(self._timed)

    def behind(self, task_id: str) -> tuple[bool, str | None]:
        """Return whether starts of the task have to wait now, and behind which execution."""
        group = self._groups.get(task_id)
        if group is None or task_id in self._free:
            return False, None
        return True, group.behind

    def block(self, task: Task, execution_id: str | None) -> None:
        """Let starts of *task* wait behind an execution (None: one without an id)."""
        group = self._groups.setdefault(task.id, _Group(task, execution_id))
        if group.behind != execution_id:
            group.behind, group.seen_at = execution_id, 0.0
            for start in group.starts:
                start.waits_since = time.monotonic()
        if task.last_shown:
            group.task = task
        self._free.pop(task.id, None)
        if execution_id is None:
            self._blind.append((time.monotonic() + self._blind_retry, task.id))

    def add(self, start: OpenStart) -> None:
        """Let *start* wait with the others of its task, which is blocked."""
        group = self._groups[start.task.id]
        start.task = group.task
        group.starts.append(start)
        self._may_expire(start)

    def until(self, start: OpenStart, moment: int) -> None:
        """Let *start* wait until *moment*, in milliseconds since 1970."""
        heapq.heappush(self._timed, (moment, start.id, start))
        self._may_expire(start)

    def hold(self, start: OpenStart) -> None:
        """Watch over the time of *start*, which waits for its stage."""
        self._may_expire(start)

    def leave(self, start: OpenStart) -> None:
        """Forget *start*, which has its turn now: its queue watches over its time."""
        self._expiring.pop(start.id, None)

    def seen(self, task_id: str, execution_id: str, asked_at: float) -> None:
        """Note that the server, asked at the monotonic time *asked_at*, showed that an execution runs."""
        group = self._groups.get(task_id)
        if group is not None and group.behind == execution_id:
            group.seen_at = max(group.seen_at, asked_at)

    def free(self, task_id: str, execution_id: str | None) -> None:
        """Note that an execution has ended: what waits behind it may go."""
        group = self._groups.get(task_id)
        if group is not None and group.behind == execution_id:
            self._free[task_id] = None

    def join(self, task_id: str) -> list[OpenStart]:
        """Return all starts that wait for the task, to share a run that begins now."""
        group = self._groups.get(task_id)
        if group is None:
            return []
        starts = [start for start in group.starts if start.state is StartState.WAITING]
        for start in starts:
            start.task = group.task
            start.seen_behind = group.seen_at >= start.waits_since
        group.starts = []
        if task_id in self._free:
            del self._free[task_id], self._groups[task_id]
        return starts

    def take(self, taken: Callable[[str], bool]) -> list[OpenStart]:
        """Return the starts of one task that may go now and is not *taken*; empty if there is none."""
        now = time.monotonic()
        while self._blind and self._blind[0][0] <= now:
            self.free(self._blind.popleft()[1], None)
        while (task_id := next((one for one in self._free if not taken(one)), None)) is not None:
            starts = self.join(task_id)
            if starts:
                return starts
        return []

    def free_starts(self) -> Iterator[OpenStart]:
        """Return the starts that `take` may return, now or later."""
        for task_id in self._free:
            yield from self._groups[task_id].starts

    def due(self) -> Iterator[OpenStart]:
        """Return the starts whose time has come."""
        now = now_ms()
        while self._timed and self._timed[0][0] <= now:
            start = heapq.heappop(self._timed)[2]
            if start.state is StartState.WAITING:
                yield start

    def expired(self) -> list[OpenStart]:
        """Return waiting starts whose request's time is over; those in a run are left to it."""
        now = now_ms()
        gone = []
        while self._expiries and self._expiries[0][0] <= now:
            start = self._expiring.pop(heapq.heappop(self._expiries)[1], None)
            if start is not None and start.state is StartState.WAITING and start.run is None:
                gone.append(start)
        return gone

    def _may_expire(self, start: OpenStart) -> None:
        if start.expires_at is None or start.id in self._expiring:
            return
        self._expiring[start.id] = start
        heapq.heappush(self._expiries, (start.expires_at, start.id))
        if len(self._expiries) >= self._tidy_at:
            # Starts that began long before their time is over must not be kept until then.
            self._expiring = {
                known: one for known, one in self._expiring.items() if one.state is StartState.WAITING
            }
            # Made anew: one that left and came again has an entry for each time.
            self._expiries = [
                (one.expires_at, known) for known, one in self._expiring.items() if one.expires_at is not None
            ]
            heapq.heapify(self._expiries)
            self._tidy_at = max(TIDY_AT, 2 * len(self._expiries))
