"""Settles runs whose outcome the answer did not tell, by looking at what the server shows."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Completion, Polled
from butler_mqtt.domain.model import Execution, Task, TaskSnapshot
from butler_mqtt.domain.open_work import Doubt, Run
from butler_mqtt.domain.reconciliation import (
    Baseline,
    Verdict,
    VerdictKind,
    ended_since,
    reason_not_started,
    reconcile,
)
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.qrs.pauses import pause_after

#: Seconds between the two looks that must find nothing before a start is repeated (design 5.2).
BETWEEN_POLLS_SECONDS = 5.0
#: An intent older than this is not posted again.
MAX_AGE_MS = 10 * 60 * 1000
#: Longest pause between two tries while the server cannot be reached, in seconds.
MAX_PAUSE_SECONDS = 10.0
#: Runs looked at together: as many as share a question.
MAX_TOGETHER = 30
#: POSTs answered with the empty id because of an execution that had ended by the look.
MAX_MISSED = 3

_CANNOT_TELL = (
    "the server shows no execution that is certainly its own, and whether the start had effect cannot be"
    " told: look at the task in the QMC before asking for it again"
)

_log = logging.getLogger("butler_mqtt.settler")


class SnapshotReader(Protocol):
    """The side of the Qlik server that shows what became of tasks."""

    def read_snapshots(self, tasks: Iterable[Task]) -> Mapping[str, TaskSnapshot | QlikRefused]:
        """Read tasks with their sessions and results, by id; raises QlikUnavailable or QlikRefused."""


class Verdicts(Protocol):
    """What becomes of a run once its outcome is known."""

    def began(self, run: Run, execution_id: str | None, *, adopted: bool) -> None:
        """Take note that an execution began."""

    def busy(self, run: Run, execution: Execution) -> None:
        """Take note that an execution of the task ran already."""

    def not_started(self, run: Run, code: str, details: str) -> None:
        """Take note that nothing began, and why."""

    def unknown(self, run: Run, details: str) -> None:
        """Take note that nobody can tell."""

    def post_again(self, run: Run) -> None:
        """Take note that nothing began and the run is to be posted once more."""

    def found_nothing(self, run: Run) -> None:
        """Take note that a look found nothing of a run for the first time."""

    def polled(self, run: Run, text: str) -> None:
        """Take note of what a look at the server showed."""


class Reconciler:
    """
    Looks at the server until a run in doubt has an outcome.

    Args:
        verdicts: Told the outcome.
        emit: Hands an event to the pipeline; called from the settler's thread.
        deadline: Seconds without an answer from the server after which it stays unknown.
        our_user: User id under which we start, to prefer our own execution.
    """

    def __init__(
        self, verdicts: Verdicts, *, emit: Callable[[Completion], None], deadline: float, our_user: str = ""
    ) -> None:
        self._verdicts = verdicts
        self._emit = emit
        self._deadline = deadline
        self._our_user = our_user
        self._runs: dict[int, Run] = {}
        self._due: list[tuple[float, int, int]] = []
        self._sequence = count()
        self._jobs: SimpleQueue[tuple[int, Task] | None] = SimpleQueue()
        #: How many may be looked at together now: half as many after each look that failed, since one task
        #: that cannot be read must not keep the others from being read.
        self._together = MAX_TOGETHER

    def __len__(self) -> int:
        return len(self._runs)

    # ---- the thread that looks

    def work(self, qlik: SnapshotReader) -> None:
        """Look, many tasks at a time, until `stop`; runs in a thread of its own."""
        while runs := self._next_runs():
            asked_at = time.monotonic()
            try:
                snapshots: Mapping[str, TaskSnapshot | QlikError] = qlik.read_snapshots(runs.values())
            except QlikError as error:
                snapshots = {task.id: error for task in runs.values()}
                self._together = max(1, self._together // 2)
            else:
                self._together = MAX_TOGETHER
            for run_id, task in runs.items():
                self._emit(Polled(run_id, asked_at, snapshots[task.id]))

    def _next_runs(self) -> dict[int, Task]:
        """Wait for jobs and give those that stand ready, with the tasks of their runs; none at the end."""
        runs: dict[int, Task] = {}
        job = self._jobs.get()
        while job is not None:
            runs[job[0]] = job[1]
            if len(runs) >= self._together or self._jobs.empty():
                return runs
            job = self._jobs.get()
        if runs:
            self.stop()  # for the next call to find
        return runs

    def stop(self) -> None:
        """Let `work` end after the job in hand."""
        self._jobs.put(None)

    # ---- turns of the pipeline

    def reset(self) -> None:
        """Forget all runs; they are read again from the journal."""
        self._runs.clear()
        self._due.clear()

    def doubt(self, run: Run, doubt: Doubt) -> None:
        """Take a run in whose outcome is in doubt, and look as soon as that can tell something."""
        run.doubt = doubt
        run.failures = 0
        run.in_doubt_since = now = time.monotonic()
        self._runs[run.id] = run
        # An earlier life of the daemon may have had the first of the two looks.
        again_at = now if run.nothing_since is None else run.nothing_since + BETWEEN_POLLS_SECONDS
        self._poll_in(max(0.0, again_at - now), run)

    def resumed(self) -> None:
        """Begin the deadlines anew: the process stood still."""
        for run in self._runs.values():
            run.in_doubt_since = time.monotonic()

    def turn(self) -> None:
        """Hand over the looks that are due."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, run_id = heapq.heappop(self._due)
            if run_id in self._runs:
                self._jobs.put((run_id, self._runs[run_id].task))

    def polled(self, event: Polled, transaction: Transaction) -> None:
        """Judge what a look showed."""
        run = self._runs.get(event.run)
        if run is None:
            return
        if isinstance(event.snapshot, TaskSnapshot):
            run.failures = 0
            run.in_doubt_since = time.monotonic()
            self.judge(run, event.snapshot, event.asked_at, transaction)
        elif (
            isinstance(event.snapshot, QlikRefused) or time.monotonic() - run.in_doubt_since >= self._deadline
        ):
            self._cannot_be_read(run, event.snapshot)
        else:
            if run.failures == 0:
                self._note(run, f"the Qlik server could not be looked at: {event.snapshot}")
            run.failures += 1
            self._poll_in(min(MAX_PAUSE_SECONDS, pause_after(run.failures)), run)

    def judge(self, run: Run, snapshot: TaskSnapshot, asked_at: float, transaction: Transaction) -> None:
        """
        Give *run* its outcome from what the server shows, or decide to look or post again.

        Args:
            run: In doubt.
            snapshot: What the server shows.
            asked_at: Monotonic time before it was asked.
            transaction: To look up known executions.
        """
        known = queries.known_executions(transaction, {one.id for one in snapshot.executions if one.id})
        others = {execution for execution, owner in known.items() if owner != run.id}
        # What it waited behind began before the POST, whoever began it.
        others |= {start.behind for start in run.starts if start.behind is not None}
        # The first POST was answered with "not started": only one that was repeated can have begun something.
        may_have_begun = run.doubt is not Doubt.EMPTY or run.attempts > 1
        settled = reconcile(
            snapshot,
            run.baseline,
            others,
            self._our_user,
            adopt=may_have_begun,
            claimed=run.claimed,
            read_before=any(start.found_before for start in run.starts),
        )
        if settled.kind is VerdictKind.NOTHING and run.claimed is not None and run.claimed not in others:
            # Nothing older runs, and the server's own answer is an id: what it shows of it lags.
            self._runs.pop(run.id, None)
            self._verdicts.began(run, run.claimed, adopted=False)
            return
        if settled.kind in {VerdictKind.NOTHING, VerdictKind.UNCLEAR} and run.doubt is Doubt.OUTCOME:
            self._nothing_yet(run, settled, snapshot, asked_at)
            return
        self._runs.pop(run.id, None)
        self._conclude(run, settled, snapshot)

    # ---- helpers

    def _conclude(self, run: Run, settled: Verdict, snapshot: TaskSnapshot) -> None:
        execution = settled.execution
        before = run.task.last
        if snapshot.task is not None:
            # What waits from now on is compared with what ran now.
            run.task = snapshot.task
        if execution is not None:
            when = "began after the request" if settled.kind is VerdictKind.ADOPT else "ran already"
            self._note(run, f"the Qlik server showed that execution {execution.id} {when}")
        if settled.kind is VerdictKind.ADOPT and execution is not None:
            if execution.id != run.claimed:
                self._say(run, f"settled: execution {execution.id} is taken as its own", "run_adopted")
            self._verdicts.began(run, execution.id, adopted=execution.id != run.claimed)
        elif settled.kind is VerdictKind.UNCLEAR:
            self._verdicts.unknown(run, _CANNOT_TELL)
        elif settled.kind is VerdictKind.NO_TASK:
            self._verdicts.not_started(run, "task_not_found", "the server says that there is no such task")
        elif run.doubt is Doubt.REFUSED:
            self._verdicts.not_started(run, *_reported(run))
        elif settled.kind is VerdictKind.RUNS_ALREADY and execution is not None:
            self._verdicts.busy(run, execution)
        elif run.attempts < MAX_MISSED and ended_since(snapshot, run.baseline, before):
            # What kept the POST from starting anything had ended before the look.
            run.baseline = Baseline.of(run.task, run.baseline.server_date)
            self._verdicts.post_again(run)
        else:
            self._verdicts.not_started(run, *reason_not_started(snapshot))

    def _nothing_yet(self, run: Run, settled: Verdict, snapshot: TaskSnapshot, asked_at: float) -> None:
        if run.nothing_since is None:
            run.nothing_since = time.monotonic()
            self._verdicts.found_nothing(run)
            self._note(
                run, f"the Qlik server showed nothing that began; next look in {BETWEEN_POLLS_SECONDS:g} s"
            )
        # Not when it is judged, which may be late: two looks can be under way after a fault of the journal.
        due = run.nothing_since + BETWEEN_POLLS_SECONDS
        if asked_at < due:
            self._poll_in(max(0.0, due - time.monotonic()), run)
            return
        self._runs.pop(run.id, None)
        self._note(run, "the Qlik server still showed nothing that began")
        provable = settled.proved and snapshot.sessions_readable and run.baseline.comparable
        if provable and now_ms() - run.intended_at < MAX_AGE_MS:
            self._say(run, "settled: it began nothing, so it is posted again", "run_repeated")
            self._verdicts.post_again(run)
        else:
            self._verdicts.unknown(run, _CANNOT_TELL)

    def _cannot_be_read(self, run: Run, error: QlikError) -> None:
        self._runs.pop(run.id, None)
        if run.doubt is Doubt.OUTCOME:
            self._verdicts.unknown(run, f"the outcome cannot be read: {error}")
        elif run.doubt is Doubt.CLAIMED and run.claimed is not None:
            self._verdicts.began(run, run.claimed, adopted=False)
        else:
            self._verdicts.not_started(run, *_reported(run))

    def _note(self, run: Run, text: str) -> None:
        # The others are ordinary: the task was busy.
        if run.doubt is Doubt.OUTCOME:
            self._verdicts.polled(run, text)

    def _poll_in(self, seconds: float, run: Run) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._sequence), run.id))

    def _say(self, run: Run, text: str, action: str) -> None:
        for start in run.starts:
            _log.warning(
                "request %s, task %s (%s): %s",
                start.request_id,
                run.task.name,
                run.task.id,
                text,
                extra={"action": action, "request_id": start.request_id},
            )


def _reported(run: Run) -> tuple[str, str]:
    """Give code and details of what the server answered to the POST itself."""
    if run.refusal is not None:
        return "qrs_rejected", str(run.refusal)
    return "not_started", "the server answered with the empty execution id; its reason cannot be read"
