"""Reconciles runs whose outcome the answer did not show with what the server shows of their tasks."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from queue import SimpleQueue
from typing import NamedTuple, Protocol

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
    runs_of_app,
)
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.qrs.retry_pauses import pause_after
from butler_mqtt.starting.app_sessions import AppReader, with_app
from butler_mqtt.starting.conclusions import (
    AppRuns,
    Began,
    Conclusion,
    NotStarted,
    PostAgain,
    RanAlready,
    Undecidable,
)
from butler_mqtt.steady_clock import elapsed_ms_at

#: Tasks read with one call: as many as share a query.
MAX_SNAPSHOTS = 30
#: POSTs answered with the empty id because of an execution that had ended before the snapshot.
MAX_MISSED = 3

_UNDECIDABLE = Undecidable(
    "the server shows no execution that is certainly its own, and whether the start had effect is not known:"
    " check the task in the QMC before asking for it again"
)

_log = logging.getLogger("butler_mqtt.reconciler")


class SnapshotReader(AppReader, Protocol):
    """The side of the Qlik server that shows what became of tasks."""

    def read_snapshots(self, tasks: Iterable[Task]) -> Mapping[str, TaskSnapshot | QlikRefused]:
        """Read tasks with their sessions and results, by id; raises QlikUnavailable or QlikRefused."""


class _PollJob(NamedTuple):
    """A run whose task is to be read; `with_app`: with what runs of its app, if nothing of itself does."""

    run: int
    task: Task
    with_app: bool


class Reconciler:
    """
    Polls the tasks of runs in doubt and draws the conclusion.

    Args:
        ledger: Where what the polls showed is noted.
        emit: Submits an event to the pipeline; called from the thread in `work`.
        timings: Pauses between polls, and the age up to which an intent is posted again.
        deadline: Seconds without an answer from the server after which the outcome stays unknown.
        our_user: User id under which we start, to prefer our own execution.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        emit: Callable[[Completion], None],
        timings: QlikTimings,
        deadline: float,
        our_user: str = "",
    ) -> None:
        self._ledger = ledger
        self._emit = emit
        self._timings = timings
        self._deadline = deadline
        self._our_user = our_user
        self._runs: dict[int, Run] = {}
        self._due: list[tuple[float, int, int]] = []
        self._sequence = count()
        self._jobs: SimpleQueue[_PollJob | None] = SimpleQueue()
        #: How many tasks are read with one call: half as many after each call that failed, since one task
        #: that cannot be read must not keep the others from being read.
        self._together = MAX_SNAPSHOTS

    def __len__(self) -> int:
        return len(self._runs)

    # ---- the thread that reads

    def work(self, qlik: SnapshotReader) -> None:
        """Read tasks, many at a time, until `stop`; runs in a thread of its own."""
        while jobs := self._next_jobs():
            asked_at = time.monotonic()
            try:
                snapshots: Mapping[str, TaskSnapshot | QlikError] = qlik.read_snapshots(
                    job.task for job in jobs
                )
            except QlikError as error:
                snapshots = {job.task.id: error for job in jobs}
                self._together = max(1, self._together // 2)
            else:
                self._together = MAX_SNAPSHOTS
            for job in jobs:
                shown = snapshots[job.task.id]
                self._emit(Polled(job.run, asked_at, _with_app(qlik, shown) if job.with_app else shown))

    def _next_jobs(self) -> list[_PollJob]:
        """Wait for jobs and return those that are ready; none at the end."""
        jobs: dict[int, _PollJob] = {}
        job = self._jobs.get()
        while job is not None:
            jobs[job.run] = job
            if len(jobs) >= self._together or self._jobs.empty():
                return list(jobs.values())
            job = self._jobs.get()
        if jobs:
            self.stop()  # for the next call
        return list(jobs.values())

    def stop(self) -> None:
        """Let `work` end after the job in hand."""
        self._jobs.put(None)

    # ---- turns of the pipeline

    def reset(self) -> None:
        """Forget all runs; they are read again from the journal."""
        self._runs.clear()
        self._due.clear()

    def doubt(self, run: Run, doubt: Doubt) -> None:
        """Accept a run whose outcome is in doubt, and poll as soon as that can show something."""
        run.doubt = doubt
        run.in_doubt_since = now = time.monotonic()
        self._runs[run.id] = run
        # The first of the two polls may have been before the restart.
        again_at = now if run.nothing_since is None else run.nothing_since + self._timings.between_polls
        # Where another answers in the repository's place it goes round and round.
        pause = self._pause(run.attempts - 1) if run.outage is not None and run.attempts > 1 else 0.0
        self._poll_in(max(pause, again_at - now), run)

    def resumed(self) -> None:
        """Restart the deadlines: the process stood still."""
        for run in self._runs.values():
            run.in_doubt_since = time.monotonic()

    def poll(self) -> None:
        """Submit the polls that are due."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, run_id = heapq.heappop(self._due)
            if run_id in self._runs:
                run = self._runs[run_id]
                self._jobs.put(_PollJob(run_id, run.task, run.doubt is Doubt.EMPTY))

    def polled(self, run: Run, event: Polled, transaction: Transaction) -> Conclusion | None:
        """Return what a poll showed of *run*; None while it stays in doubt, or is not any more."""
        if run.id not in self._runs:
            return None
        if isinstance(event.snapshot, TaskSnapshot):
            run.failures = 0
            run.in_doubt_since = time.monotonic()
            return self.judge(run, event.snapshot, event.asked_at, transaction)
        if isinstance(event.snapshot, QlikRefused) or time.monotonic() - run.in_doubt_since >= self._deadline:
            self._runs.pop(run.id)
            return _unreadable(run, event.snapshot)
        if run.failures == 0:
            self._note(run, f"the task could not be read from the Qlik server: {event.snapshot}")
        run.failures += 1
        self._poll_in(self._pause(run.failures), run)
        return None

    def judge(
        self, run: Run, snapshot: TaskSnapshot, asked_at: float, transaction: Transaction
    ) -> Conclusion | None:
        """
        Return the conclusion about *run* from what the server shows, or None and poll again.

        Args:
            run: In doubt.
            snapshot: What the server shows.
            asked_at: Monotonic time before it was asked.
            transaction: To read known executions.
        """
        known = queries.known_executions(transaction, {one.id for one in snapshot.executions if one.id})
        others = {execution for execution, owner in known.items() if owner != run.id}
        # What it waited behind began before the POST, whoever began it.
        others |= {start.behind for start in run.starts if start.behind is not None}
        # The first POST was answered with "not started": only one that was repeated can have begun something.
        may_have_begun = run.doubt is not Doubt.EMPTY or run.attempts > 1
        before = run.task.last
        if snapshot.task is not None:
            # What waits from now on is compared with what ran now, and the gates judge by it another POST.
            # One read from the journal has neither kind nor newest execution.
            run.task, run.read_at = snapshot.task, elapsed_ms_at(asked_at)
        verdict = reconcile(
            snapshot,
            run.baseline,
            others,
            self._our_user,
            adopt=may_have_begun,
            claimed=run.claimed,
            read_before=any(start.found_before for start in run.starts),
        )
        if verdict.kind is VerdictKind.NOTHING and run.claimed is not None and run.claimed not in others:
            # Nothing older runs, and the server's own answer is an id: what it shows of it lags.
            self._runs.pop(run.id, None)
            return Began(run.claimed)
        if verdict.kind in {VerdictKind.NOTHING, VerdictKind.UNCLEAR} and run.doubt is Doubt.OUTCOME:
            return self._nothing_yet(run, verdict, snapshot, asked_at)
        self._runs.pop(run.id, None)
        return self._conclude(run, verdict, snapshot, before)

    # ---- helpers

    def _conclude(
        self, run: Run, verdict: Verdict, snapshot: TaskSnapshot, before: Execution | None
    ) -> Conclusion:
        execution = verdict.execution
        if execution is not None:
            when = "began after the request" if verdict.kind is VerdictKind.ADOPT else "ran already"
            self._note(run, f"the Qlik server showed that execution {execution.id} {when}")
        if verdict.kind is VerdictKind.ADOPT and execution is not None:
            if execution.id != run.claimed:
                _warn(run, f"reconciled: execution {execution.id} is adopted", "run_adopted")
            return Began(execution.id, adopted=execution.id != run.claimed)
        if verdict.kind is VerdictKind.UNCLEAR:
            return _UNDECIDABLE
        if verdict.kind is VerdictKind.NO_TASK:
            return NotStarted("task_not_found", "the server answers that there is no such task")
        if run.doubt is Doubt.REFUSED:
            return _answered(run)
        if verdict.kind is VerdictKind.RUNS_ALREADY and execution is not None:
            return RanAlready(execution)
        return _nothing_runs(run, snapshot, before)

    def _nothing_yet(
        self, run: Run, verdict: Verdict, snapshot: TaskSnapshot, asked_at: float
    ) -> Conclusion | None:
        between = self._timings.between_polls
        if run.nothing_since is None:
            run.nothing_since = time.monotonic()
            self._ledger.runs.found_nothing(run)
            self._note(run, f"the Qlik server showed nothing that began; next poll in {between:g} s")
        # Not when it is judged, which may be late: two polls can be in flight after a fault of the journal.
        due = run.nothing_since + between
        if asked_at < due:
            self._poll_in(max(0.0, due - time.monotonic()), run)
            return None
        self._runs.pop(run.id, None)
        self._note(run, "the Qlik server still showed nothing that began")
        provable = verdict.proved and snapshot.sessions_readable and run.baseline.comparable
        if provable and run.outage is not None:
            return self._after_outage(run, run.outage)
        if provable and now_ms() - run.intended_at < self._timings.longest_intent * 1000:
            _warn(run, "reconciled: it began nothing, so it is posted again", "run_repeated")
            return PostAgain()
        return _UNDECIDABLE

    def _after_outage(self, run: Run, outage: str) -> Conclusion:
        """Return what is concluded where nothing began, and another answered in the repository's place."""
        if time.monotonic() - run.since >= self._deadline:
            return NotStarted(
                "qrs_unavailable",
                f"{outage}; the server shows that nothing began, and for {self._deadline:g} s "
                "(startTask.requestDeadlineSeconds) no start was taken",
            )
        if run.attempts == 1:
            _warn(run, "reconciled: it began nothing; it is posted again until it is taken", "run_repeated")
        return PostAgain(renewed=True)

    def _pause(self, failures: int) -> float:
        return min(self._timings.longest_pause, pause_after(failures))

    def _note(self, run: Run, text: str) -> None:
        # The other doubts are ordinary: the task was busy.
        if run.doubt is Doubt.OUTCOME:
            self._ledger.notes.of_run(run, "looked", text)

    def _poll_in(self, seconds: float, run: Run) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._sequence), run.id))


def _with_app(qlik: AppReader, shown: TaskSnapshot | QlikError) -> TaskSnapshot | QlikError:
    """Return a snapshot with what runs of the app of its task, or why that cannot be read."""
    if isinstance(shown, QlikError):
        return shown
    try:
        return with_app(qlik, shown)
    except QlikError as error:
        return error


def _warn(run: Run, text: str, action: str) -> None:
    for start in run.starts:
        _log.warning(
            "request %s, task %s (%s): %s",
            start.request_id,
            run.task.name,
            run.task.id,
            text,
            extra={"action": action, "request_id": start.request_id},
        )


def _nothing_runs(run: Run, snapshot: TaskSnapshot, before: Execution | None) -> Conclusion:
    """Return what is concluded where nothing began or runs; *before* was the newest execution until now."""
    other = runs_of_app(snapshot)
    if other is not None:
        return AppRuns(other)
    if run.attempts < MAX_MISSED and ended_since(snapshot, run.baseline, before):
        # What kept the POST from starting anything had ended before the snapshot.
        run.baseline = Baseline.of(run.task, run.baseline.server_date)
        return PostAgain()
    return NotStarted(*reason_not_started(snapshot))


def _unreadable(run: Run, error: QlikError) -> Conclusion:
    """Return what is concluded about a run whose task cannot be read."""
    if run.doubt is Doubt.OUTCOME:
        return Undecidable(f"the outcome cannot be read: {error}")
    if run.doubt is Doubt.CLAIMED and run.claimed is not None:
        return Began(run.claimed)
    return _answered(run)


def _answered(run: Run) -> NotStarted:
    """Return what the server answered to the POST itself."""
    if run.refusal is not None:
        return NotStarted("qrs_rejected", str(run.refusal))
    return NotStarted(
        "not_started", "the server answered with the empty execution id; its reason cannot be read"
    )
