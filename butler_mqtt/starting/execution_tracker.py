"""
Follows executions to their end: ours, adopted ones, and those something waits behind.

Many ids share one query, looks grow apart with age, and the journal says after
a restart what is to be followed.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.contract import task_events
from butler_mqtt.domain.completions import CapacityRead, Completion, ExecutionsPolled
from butler_mqtt.domain.model import Execution, ExecutionStatus, Task, TaskType
from butler_mqtt.domain.open_work import OpenStart, Watch
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.qrs.pauses import pause_after

#: Seconds between two looks at one execution: the least, the most, and the most while something waits behind.
LEAST_SECONDS = 1.0
MOST_SECONDS = 30.0
MOST_WAITED_FOR_SECONDS = 10.0
#: The pause grows to this share of the execution's age.
SHARE_OF_AGE = 0.1
#: Seconds between two looks while many starts stand ready, which have the interpreter first.
BUSY_SECONDS = 3.0
#: Executions followed at once beyond which nothing is put off: each takes memory, and its end is waited for.
MAX_PUT_OFF = 4000
#: Executions looked at in one job.
MAX_EXECUTIONS = 500
#: Seconds after the end of a session for which its result may still be missing (it lags, or was purged).
RESULT_LAG_SECONDS = 60.0
#: How often and how far apart a missing script log is asked for, seconds.
LOG_TRIES = 3
LOG_PAUSE_SECONDS = 2.0

_FAILED = frozenset({ExecutionStatus.FINISHED_FAIL, ExecutionStatus.ERROR})

_log = logging.getLogger("butler_mqtt.follower")


class ExecutionReader(Protocol):
    """The side of the Qlik server that shows executions."""

    def executions(self, ids: Sequence[str]) -> Mapping[str, Execution | None]:
        """Read executions by id; raises QlikUnavailable or QlikRefused."""

    def script_log(self, task_id: str, execution: Execution, lines: int) -> list[str] | None:
        """Read the last lines of a script log, None while there is none; raises as `executions`."""

    def capacity(self) -> int:
        """Read how many reloads the site runs at one time; raises as `executions`."""


class ExecutionTracker:
    """
    Looks at executions until they have ended.

    Args:
        ledger: Where progress and ends are recorded.
        emit: Hands an event to the pipeline; called from the follower's thread.
        freed: Told the task and execution when one ended that something waited for.
        seen: Told the task, the execution and the monotonic time of the question when it still ran.
        log_lines: Last lines of the script log told with a failed reload; 0 asks for none.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        emit: Callable[[Completion], None],
        freed: Callable[[str, str], None],
        seen: Callable[[str, str, float], None],
        log_lines: int,
    ) -> None:
        self._ledger = ledger
        self._emit = emit
        self._freed = freed
        self._seen = seen
        self._log_lines = log_lines
        self._watches: dict[str, Watch] = {}
        self._due: list[tuple[float, int, str]] = []
        self._sequence = count(1)
        self._jobs: SimpleQueue[list[tuple[str, Task]] | None] = SimpleQueue()
        self._busy = False
        self._failures = 0
        self._retry_at = 0.0
        self._looked = 0.0
        #: Whether an execution of ours was stamped at another time than the server's clock had.
        self.clocks_differ = False

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def executing(self) -> int:
        """Count the executions that we began or adopted and that have not ended."""
        return sum(watch.run is not None for watch in self._watches.values())

    # ---- the thread that looks

    def work(self, qlik: ExecutionReader) -> None:
        """Look, job by job, until `stop`; runs in a thread of its own."""
        while (job := self._jobs.get()) is not None:
            if not job:
                self._read_capacity(qlik)
                continue
            asked_at = time.monotonic()
            try:
                shown = qlik.executions([one for one, _ in job])
            except QlikError as error:
                self._emit(ExecutionsPolled(error, {}))
                continue
            failed = [
                (task, execution)
                for one, task in job
                if (execution := shown.get(one)) is not None and self._wants_log(task, execution)
            ]
            without = {execution.id for _, execution in failed}
            self._emit(
                ExecutionsPolled(
                    {one: execution for one, execution in shown.items() if one not in without}, {}, asked_at
                )
            )
            # One by one, so that many logs, or a slow one, keep nothing else back.
            for task, execution in failed:
                self._emit(self._with_script_log(qlik, task, execution))

    def ask_capacity(self) -> None:
        """Have the thread read how many reloads the site runs at one time."""
        self._jobs.put([])

    def stop(self) -> None:
        """Let `work` end after the job in hand."""
        self._jobs.put(None)

    def _read_capacity(self, qlik: ExecutionReader) -> None:
        try:
            self._emit(CapacityRead(qlik.capacity()))
        except QlikError as error:
            _log.info(
                "how many reloads the site runs at one time cannot be read: %s",
                error,
                extra={"action": "capacity_unknown"},
            )

    def _wants_log(self, task: Task, execution: Execution) -> bool:
        return (
            self._log_lines > 0
            and task.task_type in {None, TaskType.RELOAD}
            and not execution.active
            and execution.status in _FAILED
        )

    def _with_script_log(self, qlik: ExecutionReader, task: Task, execution: Execution) -> ExecutionsPolled:
        """Read the log of a failed reload; one that cannot be had costs nothing else."""
        lines: list[str] | None
        try:
            lines = qlik.script_log(task.id, execution, self._log_lines)
        except QlikError as error:
            _log.info(
                "the script log of task %s (%s) cannot be read: %s",
                task.name,
                task.id,
                error,
                extra={"action": "script_log_refused"},
            )
            # What the server cannot give now it may give at the next look.
            lines = [] if isinstance(error, QlikRefused) else None
        execution_id = execution.id or ""
        return ExecutionsPolled({execution_id: execution}, {} if lines is None else {execution_id: lines})

    # ---- turns of the pipeline

    def reset(self) -> None:
        """Forget all executions; they are read again from the journal."""
        self._watches.clear()
        self._due.clear()

    def get(self, execution_id: str) -> Watch | None:
        """Give the watch over an execution, if it is followed."""
        return self._watches.get(execution_id)

    def follow(
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
        Follow an execution that serves *starts*.

        Args:
            execution_id: It is followed until it has ended.
            task: Whose it is.
            run: That began or adopted it.
            starts: Whom it serves.
            published: Its events so far.
            age: Seconds since it began.
            window: The server's times between which it certainly began.
        """
        watch = self._watch(execution_id, task)
        watch.window = window
        watch.since = min(watch.since, time.monotonic() - age)
        watch.run = run
        watch.starts.extend(starts)
        watch.published |= published

    def starts(self) -> Iterator[OpenStart]:
        """Give all starts whose executions are followed."""
        for watch in self._watches.values():
            yield from watch.starts

    def wait_for(self, execution_id: str, task: Task) -> None:
        """Follow an execution because something waits behind it."""
        watch = self._watch(execution_id, task)
        if not watch.waited_for:
            watch.waited_for = True
            self._poll_in(LEAST_SECONDS, watch)

    def turn(self, *, busy: bool = False) -> None:
        """Hand over the looks that are due; *busy*: seldom, since there is much to start."""
        now = time.monotonic()
        if self._busy or now < self._retry_at or not self._due or self._due[0][0] > now:
            return
        if busy and len(self._watches) <= MAX_PUT_OFF and now < self._looked + BUSY_SECONDS:
            return
        job: dict[str, Task] = {}
        while self._due and self._due[0][0] <= now and len(job) < MAX_EXECUTIONS:
            _, number, execution_id = heapq.heappop(self._due)
            watch = self._watches.get(execution_id)
            if watch is not None and watch.snapshot == number:
                watch.snapshot = 0
                job[execution_id] = watch.task
        if job:
            self._busy = True
            self._looked = now
            self._jobs.put(list(job.items()))

    def polled(self, event: ExecutionsPolled) -> None:
        """Take in what a look showed."""
        self._busy = False
        if isinstance(event.shown, QlikError):
            self._failed(event.shown)
            return
        self._failures = 0
        for execution_id, execution in event.shown.items():
            watch = self._watches.get(execution_id)
            if watch is not None:
                if watch.waited_for and execution is not None and execution.session:
                    self._seen(watch.task.id, execution_id, event.asked_at)
                self._judge(watch, execution, event.logs.get(execution_id))

    # ---- helpers

    def _judge(self, watch: Watch, execution: Execution | None, log: list[str] | None) -> None:
        if execution is not None and watch.window is not None:
            self._compare_clocks(watch.window, execution)
            watch.window = None
        if execution is not None and execution.abort_reason:
            watch.abort_reason = execution.abort_reason
        if execution is None or (not execution.session and execution.active):
            # The session is gone and its result is not final: it lags, or has been purged.
            self._without_result(watch)
            return
        watch.gone_since = None
        if execution.active:
            kind = task_events.PROGRESS.get(execution.status)
            if kind is not None:
                self._ledger.runs.progressed(watch, kind)
            self._poll_in(self._pause(watch), watch)
        elif self._wants_log(watch.task, execution) and log is None and watch.logs_asked < LOG_TRIES:
            watch.logs_asked += 1
            self._free(watch)
            self._poll_in(LOG_PAUSE_SECONDS, watch)
        else:
            self._end(watch, execution, log or [])

    def _compare_clocks(self, window: tuple[datetime, datetime], execution: Execution) -> None:
        """Notice clocks of nodes that differ from the server's: what they stamp proves nothing then."""
        if self.clocks_differ or execution.began is None:
            return
        earliest, latest = window[0] - SERVER_CLOCK_SLACK, window[1] + SERVER_CLOCK_SLACK
        if not earliest <= execution.began <= latest:
            self.clocks_differ = True
            _log.warning(
                "execution %s is stamped %s and began about %s by the Qlik server's Date: the clocks of this"
                " site differ (look at the time service of its nodes); tasks are read anew before each start",
                execution.id,
                execution.began.isoformat(timespec="seconds"),
                window[1].isoformat(timespec="seconds"),
                extra={"action": "clocks_differ"},
            )

    def _without_result(self, watch: Watch) -> None:
        now = time.monotonic()
        if watch.gone_since is None:
            watch.gone_since = now
        self._free(watch)
        if watch.run is None or now - watch.gone_since >= RESULT_LAG_SECONDS:
            self._end(watch, None, [])
        else:
            self._poll_in(LEAST_SECONDS, watch)

    def _end(self, watch: Watch, execution: Execution | None, log: Sequence[str]) -> None:
        self._watches.pop(watch.execution_id, None)
        self._ledger.runs.ended(watch, execution, log)
        self._free(watch)

    def _free(self, watch: Watch) -> None:
        """Let go what waits behind an execution that does not run any more, whatever its result will be."""
        if watch.waited_for:
            watch.waited_for = False
            self._freed(watch.task.id, watch.execution_id)

    def _failed(self, error: QlikError) -> None:
        self._failures += 1
        pause = MOST_SECONDS if isinstance(error, QlikRefused) else pause_after(self._failures)
        self._retry_at = time.monotonic() + pause
        _log.info(
            "%s executions cannot be followed at the moment: %s; next try in %.0f s",
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
            slim = Task(task.id, task.name, task.task_type)
            watch = self._watches[execution_id] = Watch(execution_id, slim, time.monotonic())
            self._poll_in(LEAST_SECONDS, watch)
        return watch

    def _pause(self, watch: Watch) -> float:
        most = MOST_WAITED_FOR_SECONDS if watch.waited_for else MOST_SECONDS
        return min(most, max(LEAST_SECONDS, SHARE_OF_AGE * (time.monotonic() - watch.since)))

    def _poll_in(self, seconds: float, watch: Watch) -> None:
        watch.snapshot = next(self._sequence)
        # Pauses end at common moments, so that queries are few and full: short ones up to a quarter later,
        # long ones up to a quarter earlier.
        grid = 2.0 ** math.floor(math.log2(seconds / 4))
        moment = (time.monotonic() + seconds) / grid
        moment = grid * (math.floor(moment) if seconds >= 4 * LEAST_SECONDS else math.ceil(moment))
        heapq.heappush(self._due, (moment, watch.snapshot, watch.execution_id))
