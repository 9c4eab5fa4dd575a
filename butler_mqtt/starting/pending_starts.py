"""Starts without a run: in their task's queue, blocked, or held until their task has been read once more."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StageState, StartState
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.resolving.refresh import TaskRefresh
from butler_mqtt.starting.blocked_starts import BlockedStarts
from butler_mqtt.starting.capacity_waits import CapacityWaits
from butler_mqtt.starting.conclusions import EXPIRED, NotStarted
from butler_mqtt.starting.deadlines import Deadlines
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.task_queues import TaskQueues


class PendingStarts:
    """
    Orders the starts to come; those of one task are returned for one run at a time.

    Args:
        ledger: Where it is recorded that a start waits, or is dropped.
        blocked: Starts that wait behind an execution or for their time.
        tracker: Tracks the executions that starts wait behind.
        deadlines: When a start is too late.
        refresh: Starts whose task is to be read once more.
    """

    def __init__(
        self,
        ledger: Ledger,
        blocked: BlockedStarts,
        tracker: ExecutionTracker,
        deadlines: Deadlines,
        refresh: TaskRefresh,
    ) -> None:
        self._ledger = ledger
        self._blocked = blocked
        self._tracker = tracker
        self._deadlines = deadlines
        self._refresh = refresh
        self.queues = TaskQueues()
        self.capacity_waits = CapacityWaits(ledger, self.queues)
        self._blocked_first = False

    def __len__(self) -> int:
        return len(self.queues)

    def reset(self) -> None:
        """Forget all starts; they are read again from the journal."""
        self.queues.clear()
        self.capacity_waits.clear()
        self._blocked.clear()
        self._refresh.reset()

    def add(self, starts: Iterable[OpenStart]) -> None:
        """Accept planned starts, in order of arrival."""
        for start in starts:
            if start.state is StartState.CANCELLED:
                continue  # in the turn in which it was decided
            if start.not_before is not None and start.not_before > now_ms():
                self._ledger.starts.waits(start, "notBefore")
                self._blocked.until(start, start.not_before)
            else:
                self._enter(start)

    def hold(self, starts: Iterable[OpenStart]) -> None:
        """Watch over the time of starts that wait for their stage."""
        for start in starts:
            self._blocked.hold(start)

    def enter(self, starts: Iterable[OpenStart]) -> None:
        """Accept the starts of a stage that begins."""
        for start in starts:
            self._enter(start)

    def starts(self) -> Iterator[OpenStart]:
        """Return all starts without a run."""
        yield from self.queues.starts()
        yield from self._refresh.starts()
        yield from self._blocked.starts()

    def may_share(self, task_id: str, request_row: int) -> bool:
        """Return whether a start of another request may still be answered with what runs of a task now."""
        if self.queues.is_taken(task_id):
            return True
        coming = (*self.queues.of(task_id), *self._refresh.starts())
        return any(
            start.task.id == task_id
            and start.request_row != request_row
            and start.state is StartState.PLANNED
            for start in coming
        )

    def withdraw(self, starts: Collection[OpenStart]) -> None:
        """Forget *starts*; those without a run are not carried out any more."""
        gone = set(starts)
        self.capacity_waits.left(gone)
        for task_id in {start.task.id for start in gone}:
            self.queues.remove_of(task_id, gone.__contains__)
        self._blocked.remove(gone)
        if len(self._refresh):
            for task_id in self._refresh.remove(gone.__contains__):
                self.queues.release(task_id)

    def restore(self, start: OpenStart) -> None:
        """Accept a waiting start that was read from the journal."""
        if start.stage is not None and start.stage.state is StageState.WAITING:
            self._blocked.hold(start)
        elif start.reason == "notBefore":
            self._blocked.until(start, start.not_before or 0)
        elif start.reason == "running":
            self._block(start.task, start.behind)
            # What it waits behind may have ended before it came, and before the restart.
            start.waits_since = time.monotonic()
            self._blocked.add(start)
        else:
            self._enter(start)

    def enter_due(self) -> None:
        """Let the starts whose `notBefore` has come have their turn."""
        for start in self._blocked.due():
            # What was read when it was decided may be hours old: no baseline for a POST now.
            start.unread = True
            self._enter(start)

    def take(self) -> list[OpenStart]:
        """Take the starts of one task whose turn it is; they share a run."""
        # In turn, so that many which become free together do not hold up the others, nor the other way round.
        self._blocked_first = not self._blocked_first
        ways = (self._take_blocked, self._take_queued)
        return next((taken for way in ways[:: 1 if self._blocked_first else -1] if (taken := way())), [])

    def wait_for_capacity(self) -> None:
        """Record that the starts in the queues wait for the end of another execution."""
        self.capacity_waits.record()
        for start in self._blocked.free_starts():
            start.unread = True

    def wait_behind(self, task: Task, starts: Sequence[OpenStart], execution_id: str | None) -> None:
        """
        Let *starts* of *task* wait behind an execution that was seen to run after they came.

        The others in the queue of the task would be answered likewise: they
        wait too, unless they skip a running task.
        """
        if not starts:
            return
        self._block(task, execution_id)
        for start in starts:
            self._wait(start, execution_id, since=0.0)
        for start in self.queues.remove_of(task.id, lambda start: not start.skip_if_running):
            self._wait(start, execution_id, since=time.monotonic())

    def drop_late(self) -> None:
        """Drop what is too late."""
        for start in self._blocked.expired():
            self._drop(start, EXPIRED)
        # In a burst there are thousands: they are searched only where one can be too late.
        if not (self.queues.expiring or self._deadlines.unreachable or len(self._refresh)):
            return
        now = now_ms()
        late: list[tuple[OpenStart, NotStarted]] = []

        def is_late(start: OpenStart) -> bool:
            conclusion = self._deadlines.of_start(start, now)
            if conclusion is not None:
                late.append((start, conclusion))
            return conclusion is not None

        self.queues.remove(is_late)
        emptied = self._refresh.remove(is_late)
        for start, conclusion in late:
            self._drop(start, conclusion)
        for task_id in emptied:
            self.queues.release(task_id)

    # ---- helpers

    def _take_blocked(self) -> list[OpenStart]:
        starts = self._blocked.take(self.queues.is_taken)
        if starts:
            self.queues.occupy(starts[0].task.id)
        return starts

    def _take_queued(self) -> list[OpenStart]:
        start = self.queues.take()
        while start is not None and start.expires_at is not None and start.expires_at <= now_ms():
            self._drop(start, EXPIRED)
            self.queues.release(start.task.id)
            start = self.queues.take()
        if start is None:
            return []
        # Whatever waits for this task is served by an execution that begins now.
        starts = [*self._of_stages(start), start, *self._blocked.join(start.task.id)]
        self.capacity_waits.left(starts)
        return starts

    def _of_stages(self, first: OpenStart) -> list[OpenStart]:
        """
        Return what else waits in the queue of a task because its stage has begun, if *first* does.

        The newest come first: what the server showed of the task before the run is read from them.
        """
        if first.stage is None or first.state is not StartState.WAITING:
            return []
        now = now_ms()

        def alike(start: OpenStart) -> bool:
            in_time = start.expires_at is None or start.expires_at > now
            return in_time and start.stage is not None and start.state is StartState.WAITING

        return self.queues.remove_of(first.task.id, alike)[::-1]

    def _enter(self, start: OpenStart) -> None:
        task = start.task
        if not task.has_sessions and task.enabled is False:
            # The asynchronous call is answered with 204 for a disabled task too, which would not be true.
            details = f"the task '{task.name}' is disabled: enable it in the QMC"
            self._drop(start, NotStarted("task_disabled", details))
            return
        blocked, behind = self._blocked.behind(task.id)
        if blocked and not start.skip_if_running:
            self._wait(start, behind, since=time.monotonic())
        else:
            # A start that has waited was not delayed by the server.
            planned = start.state is StartState.PLANNED and start.owner is not None
            start.entered = start.owner.entered if planned and start.owner else time.monotonic()
            self._blocked.leave(start)
            self.queues.add(start)
            self.capacity_waits.entered(start)

    def _wait(self, start: OpenStart, execution_id: str | None, *, since: float) -> None:
        self.capacity_waits.left((start,))
        start.waits_since = since
        self._ledger.starts.waits(start, "running", execution_id)
        self._blocked.add(start)

    def _block(self, task: Task, execution_id: str | None) -> None:
        self._blocked.block(task, execution_id)
        if execution_id is not None:
            self._tracker.wait_for(execution_id, task)

    def _drop(self, start: OpenStart, conclusion: NotStarted) -> None:
        self.capacity_waits.left((start,))
        self._ledger.starts.dropped([start], conclusion.code, conclusion.details, conclusion.state)
