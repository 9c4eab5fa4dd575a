"""
Carries out starts: intent on disk, one POST, its outcome on disk.

At most one run of a task is between intent and outcome. A POST is repeated by
itself only when nothing can have been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from butler_mqtt.domain.completions import CapacityRead, Completion, ExecutionsPolled, Posted, StopAsked
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart, Run
from butler_mqtt.errors import QlikError
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.resolving.gates import Gates
from butler_mqtt.resolving.outage_backoff import Backoff
from butler_mqtt.resolving.refresh import TaskRefresh
from butler_mqtt.settings import StartTask
from butler_mqtt.starting.blocked_starts import BlockedStarts
from butler_mqtt.starting.cancellation import Cancellation
from butler_mqtt.starting.capacity import Capacity
from butler_mqtt.starting.deadlines import Deadlines
from butler_mqtt.starting.execution_poller import ExecutionPoller
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.id_trust import IdTrust
from butler_mqtt.starting.node_clocks import NodeClocks
from butler_mqtt.starting.open_runs import OpenRuns
from butler_mqtt.starting.pending_starts import PendingStarts
from butler_mqtt.starting.post_workers import PostWorkers
from butler_mqtt.starting.posts_in_flight import PostWindow
from butler_mqtt.starting.reconciler import Reconciler
from butler_mqtt.steady_clock import elapsed_ms

#: Starts that are ready, from which on they go before polls of executions.
MANY_PLANNED = 100
#: Executions whose end is recorded in one turn, unless so many starts are ready: 50 of them take 10 ms.
ENDS_OF_A_TURN = 16
#: More than ever begin in one turn.
MAX_RELOADS = 1_000_000


class Dispatcher:
    """
    Submits every planned start to the POST workers, as many at a time as the limits allow.

    Args:
        settings: Limits and deadlines.
        rows: Gathers what is to be done after the commit.
        ledger: Where intents and outcomes are recorded.
        emit: Submits an event to the pipeline; called from the threads.
        refresh: Has a task, by id, read once more; it comes back through `read`.
        gates: What may be started, when the configuration has changed since that was decided.
        server_time: The server's clock as last seen.
        timings: Pauses and intervals.
        our_user: User id under which we start.
    """

    def __init__(
        self,
        settings: StartTask,
        rows: UnitOfWork,
        ledger: Ledger,
        *,
        emit: Callable[[Completion], None],
        refresh: Callable[[str], None],
        gates: Gates,
        server_time: Callable[[], datetime | None],
        timings: QlikTimings,
        our_user: str = "",
    ) -> None:
        blocked, clocks = BlockedStarts(timings.blind_retry), NodeClocks()
        deadline = settings.request_deadline_seconds
        self._rows = rows
        self._ledger = ledger
        self._emit = emit
        self._gates = gates
        self._most_read = timings.most_read
        self._longest_ms = timings.cache_age * 1000
        self._deadlines = Deadlines(deadline)
        self._backoff = Backoff(timings.longest_pause)
        self._window = PostWindow(settings.max_concurrent_starts)
        self._id_trust = IdTrust(clocks)
        self.refresh = TaskRefresh(refresh)
        self.post_workers = PostWorkers(emit)
        self.poller = ExecutionPoller(emit, log_lines=settings.script_log_lines)
        self.capacity = Capacity(
            settings.max_concurrent_reloads, timings.capacity_interval, self.poller.ask_capacity
        )
        self.tracker = ExecutionTracker(ledger, self.poller, blocked, clocks, timings)
        self.reconciler = Reconciler(ledger, emit=emit, timings=timings, deadline=deadline, our_user=our_user)
        self.pending = PendingStarts(ledger, blocked, self.tracker, self._deadlines, self.refresh)
        self.runs = OpenRuns(
            ledger,
            self.pending,
            self.tracker,
            self.reconciler,
            id_trust=self._id_trust,
            deadlines=self._deadlines,
            backoff=self._backoff,
            server_time=server_time,
            refresh=refresh,
        )
        self.cancellation = Cancellation(
            rows,
            ledger,
            pending=self.pending,
            runs=self.runs,
            tracker=self.tracker,
            post_workers=self.post_workers,
            withdraw=self._withdraw,
            longest_pause=timings.longest_pause,
            deadline=deadline,
        )
        #: Runs submitted to the threads in this turn or before.
        self._posting: set[int] = set()

    @property
    def in_hand(self) -> int:
        """Count the POSTs whose outcome is not on disk."""
        return len(self.post_workers.in_hand)

    @property
    def places(self) -> Mapping[int, int]:
        """Return the places of starts that wait for capacity, by their ids; for any thread."""
        return self.pending.capacity_waits.places

    @property
    def fresh(self) -> int:
        """Count the starts in the queues that are not recorded as waiting."""
        return self.pending.queues.fresh

    def restore(self, run: Run) -> None:
        """Accept a run without an outcome that was read from the journal."""
        self.runs.restore(run, in_hand=run.id in self.post_workers.in_hand)

    def reset(self) -> None:
        """Forget everything but what the threads have in hand; the rest is read again from the journal."""
        self.pending.reset()
        self.runs.reset()
        self._posting = set(self.post_workers.in_hand)
        self.reconciler.reset()
        self.tracker.reset()
        self.cancellation.reset()

    def posted(self, events: Sequence[Posted], transaction: Transaction) -> None:
        """Apply the outcomes of POSTs."""
        self._window.recorded(len(events))
        for event in events:
            self._posting.discard(event.run)
            # Kept until the outcome is on disk: should that fail, the event is applied once more.
            # Before it may be posted once more.
            self._rows.at_once_after(self.post_workers.recorded, event.run)
        self.runs.posted(events, transaction)

    def read(self, tasks: Mapping[str, Task | None], asked_at: float) -> None:
        """Apply tasks as they were read at the monotonic time *asked_at*; None: not shown."""
        self.refresh.read(tasks, asked_at)
        self.runs.read(tasks, asked_at)

    def apply(self, event: ExecutionsPolled | StopAsked | CapacityRead) -> None:
        """Apply what a poll of executions showed, what came of a stop, or how many reloads the site runs."""
        match event:
            case ExecutionsPolled():
                self._polled(event)
                if not isinstance(event.shown, QlikError):
                    self._deadlines.restart()
            case StopAsked():
                self.cancellation.stop_asked(event)
            case CapacityRead(reloads):
                self.capacity.read(reloads)

    def resumed(self) -> None:
        """Restart the deadlines: the process stood still, and the server may long have recovered."""
        self._deadlines.restart()
        self.reconciler.resumed()

    def drop_late(self) -> None:
        """Drop what is too late and has not begun."""
        self.pending.drop_late()
        self.runs.drop_late()

    def turn(self) -> None:
        """Submit what may be posted."""
        self.pending.enter_due()
        if self._backoff.paused:
            return
        # While the server is unreachable one POST probes; else some wait in hand to hide the commit.
        limit = 1 if self._backoff.failing else self._window.size(self.post_workers.idle)
        self._window.full = False
        room = self._room_for_reloads()
        while len(self._posting) < limit:
            if not (run := self._repeated() or self._refreshed()):
                starts = self.pending.take() if room > 0 and len(self.refresh) < self._most_read else []
                if not starts:
                    return
                room -= 1
                if self._id_trust.needs_refresh(starts) or self._gates.changed(starts):
                    self.refresh.hold(starts)
                    continue
                run = self.runs.intend(starts)
            self._posting.add(run.id)
            self._rows.at_once_after(self._submit, run)
        self._window.full = room > 0

    def poll(self) -> None:
        """Submit the polls that are due."""
        self.reconciler.poll()
        self.tracker.poll(busy=self.fresh >= MANY_PLANNED)

    # ---- helpers

    def _polled(self, event: ExecutionsPolled) -> None:
        """Apply what a poll showed; of many executions a part, so that no request waits for all of them."""
        if isinstance(event.shown, QlikError) or self.fresh >= MANY_PLANNED:
            self.tracker.polled(event)
            return
        shown = list(event.shown.items())
        self.tracker.polled(replace(event, shown=dict(shown[:ENDS_OF_A_TURN])))
        if rest := dict(shown[ENDS_OF_A_TURN:]):
            self.tracker.polling = True  # until the rest is applied
            self._rows.after(self._emit, replace(event, shown=rest))

    def _repeated(self) -> Run | None:
        """Take the next run that may be posted again; None if there is none, or its task is to be read."""
        while (run := self.runs.repeated.take()) is not None:
            # What was sent before began nothing when the task was read last; meanwhile it may have.
            if self._is_stale(run.read_at) and (run.attempts > 1 or self._gates.changed(run.starts)):
                self.runs.repeated.hold(run)
                continue
            shut = self._shut_out(run.starts, run.task, run.read_at)
            if not shut or self.runs.leave_out(run, shut):
                return run
        return None

    def _refreshed(self) -> Run | None:
        """Intend the next run for starts whose task has been read; room was kept for them."""
        while (taken := self.refresh.take()) is not None:
            starts, read_at = taken
            if self._is_stale(read_at) and self._gates.changed(starts):
                # POSTs have been paused since.
                self.refresh.hold(starts)
                continue
            shut = self._shut_out(starts, starts[0].task, read_at)
            if len(shut) < len(starts):
                return self.runs.intend([one for one in starts if one not in shut] if shut else starts)
            self.pending.queues.release(starts[0].task.id)
        return None

    def _is_stale(self, read_at: int) -> bool:
        """Return whether a task that was read at *read_at* has to be read again before a POST."""
        return elapsed_ms() - read_at > self._longest_ms

    def _shut_out(self, starts: Sequence[OpenStart], task: Task, read_at: int) -> list[OpenStart]:
        """Deny those of *starts* that the gates do not let through any more, and return them."""
        shut = self._gates.shut_out(starts, task, read_at)
        if shut:
            self._ledger.starts.denied(shut)
        return shut

    def _room_for_reloads(self) -> int:
        """Return how many more executions of ours may begin; record which starts wait for that."""
        limit = self.capacity.limit()
        if limit is None:
            return MAX_RELOADS
        room = limit - self.tracker.executing - len(self.runs) - len(self.refresh)
        if room <= 0:
            self.pending.wait_for_capacity()
        return room

    def _withdraw(self, run_id: int) -> bool:
        """Take a run back that was submitted, if no thread has begun to post it."""
        if not self.post_workers.withdraw(run_id):
            return False
        self._posting.discard(run_id)
        return True

    def _submit(self, run: Run) -> None:
        self.post_workers.post(run)
        self._rows.counting.posted(max(0.0, time.monotonic() - run.starts[0].entered))
