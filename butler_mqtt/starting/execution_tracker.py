"""
Tracks executions to their end: ours, adopted ones, and those that starts wait behind.

Many ids share one query, polls grow apart with age, and the journal names after
a restart what is to be tracked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from butler_mqtt.contract import task_events
from butler_mqtt.domain.completions import ExecutionsPolled
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.domain.open_work import OpenStart, Watch
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.resolving.outage_backoff import Backoff
from butler_mqtt.starting.blocked_starts import BlockedStarts
from butler_mqtt.starting.execution_poller import ExecutionPoller
from butler_mqtt.starting.node_clocks import NodeClocks
from butler_mqtt.starting.poll_schedule import PollSchedule

#: Executions polled in one job.
MAX_TOGETHER = 500
#: How often a missing script log is asked for.
LOG_TRIES = 3

_log = logging.getLogger("butler_mqtt.execution_tracker")


class ExecutionTracker:
    """
    Has executions polled until they have ended, and records what becomes of them.

    Args:
        ledger: Where progress and ends are recorded.
        poller: Reads them from the server.
        blocked: Starts that wait behind them: released when they end.
        node_clocks: Compared with the stamps of our executions.
        timings: Pauses between polls.
        monotonic: The clock of the pauses.
    """

    def __init__(
        self,
        ledger: Ledger,
        poller: ExecutionPoller,
        blocked: BlockedStarts,
        node_clocks: NodeClocks,
        timings: QlikTimings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._poller = poller
        self._blocked = blocked
        self._node_clocks = node_clocks
        self._timings = timings
        self._monotonic = monotonic
        self._watches: dict[str, Watch] = {}
        self._schedule = PollSchedule(timings)
        self._backoff = Backoff(timings.most_blocking_poll)
        self._waiting_lines = RepeatedLines()
        #: Whether a poll is in flight.
        self.polling = False

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def executing(self) -> int:
        """Count the executions that we began or adopted and that have not ended."""
        return sum(watch.run is not None for watch in self._watches.values())

    def reset(self) -> None:
        """Forget all executions; they are read again from the journal."""
        self._watches.clear()
        self._schedule.clear()

    def get(self, execution_id: str) -> Watch | None:
        """Return the watch over an execution, None if it is not tracked."""
        return self._watches.get(execution_id)

    def starts(self) -> Iterator[OpenStart]:
        """Return the starts that executions serve which have not ended."""
        for watch in self._watches.values():
            yield from watch.starts

    def track(
        self,
        execution_id: str,
        task: Task,
        run: int | None,
        starts: Iterable[OpenStart],
        published: set[str],
        *,
        age: float = 0.0,
        window: tuple[datetime, datetime] | None = None,
    ) -> None:
        """
        Track an execution that serves *starts*.

        Args:
            execution_id: It is tracked until it has ended.
            task: Whose it is.
            run: That began or adopted it.
            starts: Whom it serves.
            published: Its events so far.
            age: Seconds since it began.
            window: The server's times between which it certainly began.
        """
        watch = self._watch(execution_id, task)
        watch.task = _slim(task)  # it may have been watched for a start of another task of the app
        watch.window = window
        watch.since = min(watch.since, self._monotonic() - age)
        watch.run = run
        watch.starts.extend(starts)
        watch.published |= published

    def wait_for(self, execution_id: str, task: Task) -> None:
        """Track an execution because a start of *task* waits behind it, whichever task it is of."""
        watch = self._watch(execution_id, task)
        if not watch.waited_for:
            self._poll_in(self._timings.least_poll, watch)
        watch.waited_for.add(task.id)

    def hurry(self, execution_id: str) -> None:
        """Poll an execution soon: it is about to end."""
        watch = self._watches.get(execution_id)
        if watch is not None and watch.snapshot:
            self._poll_in(self._timings.least_poll, watch)

    def await_result(self, execution_id: str, task: Task, starts: Iterable[OpenStart]) -> None:
        """Track an execution because stages wait for its result, in which *starts* were skipped for it."""
        self._watch(execution_id, task).skipped.extend(starts)

    def poll(self, *, busy: bool = False) -> None:
        """Submit the polls that are due; *busy*: seldom, since there is much to start."""
        now = self._monotonic()
        if self.polling or self._backoff.paused:
            return
        if not self._schedule.is_due(now, len(self._watches), busy=busy):
            return
        job: dict[str, Task] = {}
        while len(job) < MAX_TOGETHER and (due := self._schedule.pop(now)) is not None:
            execution_id, number = due
            watch = self._watches.get(execution_id)
            if watch is not None and watch.snapshot == number:
                watch.snapshot = 0
                job[execution_id] = watch.task
        if job:
            self.polling = True
            self._schedule.submitted(now)
            self._poller.poll(list(job.items()))

    def polled(self, event: ExecutionsPolled) -> None:
        """Apply what a poll showed."""
        self.polling = False
        if isinstance(event.shown, QlikError):
            self._failed(event.shown)
            return
        self._backoff.succeeded()
        for execution_id, execution in event.shown.items():
            watch = self._watches.get(execution_id)
            if watch is not None:
                if execution is not None and execution.session:
                    self._seen(watch, execution, event.asked_at)
                self._judge(watch, execution, event.logs.get(execution_id))

    # ---- helpers

    def _seen(self, watch: Watch, execution: Execution, asked_at: float) -> None:
        """Note that an execution runs, for the starts of its own task: of another one two may run at once."""
        for task_id in watch.waited_for:
            if execution.task_id in {None, task_id}:
                self._blocked.seen(task_id, watch.execution_id, asked_at)

    def _judge(self, watch: Watch, execution: Execution | None, log: list[str] | None) -> None:
        if execution is not None and watch.window is not None:
            self._node_clocks.compare(execution, watch.window)
            watch.window = None
        if execution is not None and execution.abort_reason:
            watch.abort_reason = execution.abort_reason
        if execution is None or (not execution.session and execution.active):
            # The session is gone and its result is not final: it lags, or has been purged.
            self._without_result(watch)
            return
        watch.gone_since = None
        if execution.active:
            for kind in task_events.progress_of(execution):
                self._ledger.runs.progressed(watch, kind)
            self._poll_in(None, watch)
        elif self._poller.logs.wanted(watch.task, execution) and log is None and watch.logs_asked < LOG_TRIES:
            watch.logs_asked += 1
            self._free(watch)
            self._poll_in(self._timings.script_log_pause, watch)
        else:
            self._end(watch, execution, log or [])

    def _without_result(self, watch: Watch) -> None:
        now = self._monotonic()
        if watch.gone_since is None:
            watch.gone_since = now
        self._free(watch)
        awaited = watch.run is not None or watch.skipped
        if not awaited or now - watch.gone_since >= self._timings.result_lag:
            self._end(watch, None, [])
        else:
            self._poll_in(self._timings.least_poll, watch)

    def _end(self, watch: Watch, execution: Execution | None, log: Sequence[str]) -> None:
        self._watches.pop(watch.execution_id, None)
        self._ledger.runs.ended(watch, execution, log)
        if watch.skipped:
            self._ledger.starts.skipped_ended(watch.skipped, task_events.end_of(execution)[0])
        self._free(watch)

    def _free(self, watch: Watch) -> None:
        """Release what waits behind an execution that does not run any more, whatever its result will be."""
        for task_id in watch.waited_for:
            self._blocked.free(task_id, watch.execution_id)
        watch.waited_for = set()

    def _failed(self, error: QlikError) -> None:
        # A refusal is repeated as seldom as starts that wait behind an execution allow: only an operator can
        # end it, and nothing tells when.
        longest = self._timings.most_blocking_poll
        pause = self._backoff.failed(longest if isinstance(error, QlikRefused) else None)
        _log.log(
            self._waiting_lines.level(str(error)),
            "%s executions cannot be polled: %s; next try in %.0f s",
            len(self._watches),
            error,
            pause,
            extra={"action": "qrs_waiting"},
        )
        for watch in self._watches.values():
            if not watch.snapshot:
                self._poll_in(pause, watch)

    def _watch(self, execution_id: str, task: Task) -> Watch:
        watch = self._watches.get(execution_id)
        if watch is None:
            watch = self._watches[execution_id] = Watch(execution_id, _slim(task), self._monotonic())
            self._poll_in(self._timings.least_poll, watch)
        return watch

    def _poll_in(self, seconds: float | None, watch: Watch) -> None:
        self._schedule.add(watch, self._monotonic(), seconds)


def _slim(task: Task) -> Task:
    """Return a task without what was read of it: many executions are tracked for long."""
    return Task(task.id, task.name, task.task_type)
