"""Runs between their intent and their outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Polled, Posted
from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.domain.open_work import Doubt, OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RunState
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.resolving.outage_backoff import Backoff
from butler_mqtt.resolving.request_decisions import refused_by_qlik
from butler_mqtt.starting.busy_tasks import BusyTasks
from butler_mqtt.starting.conclusions import (
    EXPIRED,
    AppRuns,
    Began,
    Conclusion,
    NotStarted,
    PostAgain,
    RanAlready,
    Undecidable,
)
from butler_mqtt.starting.deadlines import Deadlines
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.id_trust import IdTrust
from butler_mqtt.starting.pending_starts import PendingStarts
from butler_mqtt.starting.reconciler import Reconciler
from butler_mqtt.starting.repeated_runs import RepeatedRuns

_log = logging.getLogger("butler_mqtt.open_runs")


class OpenRuns:
    """
    Gives every run its outcome: from the answer to its POST, or from what the reconciler concludes.

    Args:
        ledger: Where intents and outcomes are recorded.
        pending: Starts without a run; those that met a running execution wait there.
        tracker: Tracks the executions that began.
        reconciler: Polls the tasks of runs in doubt.
        id_trust: Which ids in answers are believed at once.
        deadlines: When a run of which nothing was sent is too late.
        backoff: Pauses while the server is unreachable.
        server_time: The server's clock as last seen.
        refresh: Has a task, by id, read once more; it comes back through `read`.
    """

    def __init__(
        self,
        ledger: Ledger,
        pending: PendingStarts,
        tracker: ExecutionTracker,
        reconciler: Reconciler,
        *,
        id_trust: IdTrust,
        deadlines: Deadlines,
        backoff: Backoff,
        server_time: Callable[[], datetime | None],
        refresh: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._pending = pending
        self._tracker = tracker
        self._reconciler = reconciler
        self._busy_tasks = BusyTasks(ledger, pending, tracker)
        self._id_trust = id_trust
        self._deadlines = deadlines
        self._backoff = backoff
        self._waiting_lines = RepeatedLines()
        self._server_time = server_time
        self._runs: dict[int, Run] = {}
        self.repeated = RepeatedRuns(refresh)

    def __len__(self) -> int:
        return len(self._runs)

    def reset(self) -> None:
        """Forget all runs; they are read again from the journal."""
        self._runs.clear()
        self.repeated.clear()

    def starts(self) -> Iterator[OpenStart]:
        """Return the starts of all runs."""
        for run in self._runs.values():
            yield from run.starts

    def serve_doors(self, events: Sequence[Posted]) -> bool:
        """Return whether one of these POSTs was for a request that no rule made."""
        runs = (self._runs.get(event.run) for event in events)
        return any(start.rule is None for run in runs if run is not None for start in run.starts)

    def withdraw(self, starts: Set[OpenStart], recall: Callable[[int], bool]) -> set[OpenStart]:
        """
        Take *starts* out of the runs of which nothing was sent; a run that serves no others ends.

        Args:
            starts: To be cancelled, as the caller records.
            recall: Takes a run back from the threads; False if one of them has begun to post it.

        Returns:
            Those of *starts* whose runs may have begun an execution: they stay with them.
        """
        stay: set[OpenStart] = set()
        for run in [self._runs[one] for one in {start.run for start in starts} if one in self._runs]:
            gone = [start for start in run.starts if start in starts]
            others = [start for start in run.starts if start not in gone]
            waits = run in self.repeated
            if not waits and (others or run.state is not RunState.INTENDED or not recall(run.id)):
                stay.update(gone)
                continue
            run.starts = others
            if not others:
                if waits:
                    self.repeated.remove(run)
                self._end_unserving(run)
        return stay

    def leave_out(self, run: Run, starts: Sequence[OpenStart]) -> bool:
        """
        Take *starts*, which are not to begin any more, out of a run that is to be posted again.

        Returns:
            Whether it serves others; else it has ended.
        """
        run.starts = [start for start in run.starts if start not in starts]
        if not run.starts:
            self._end_unserving(run)
        return bool(run.starts)

    def intend(self, starts: list[OpenStart]) -> Run:
        """Record the intent to post one run for *starts*, all of one task."""
        baseline = Baseline.of(starts[0].task, self._server_time())
        run = self._ledger.runs.intended(starts, baseline, time.monotonic())
        self._runs[run.id] = run
        return run

    def restore(self, run: Run, *, in_hand: bool) -> None:
        """Accept a run without an outcome that was read from the journal; *in_hand*: it is being posted."""
        self._runs[run.id] = run
        self._pending.queues.occupy(run.task.id)
        # POSTED on disk: its answer was applied, and only the turn that did so seemed to fail.
        if in_hand and run.state is RunState.INTENDED:
            return
        if run.state is RunState.INTENDED:
            self._ledger.runs.posted(run, "the daemon ended before the outcome was recorded")
        self._reconciler.doubt(run, Doubt.OUTCOME)

    def posted(self, events: Sequence[Posted], transaction: Transaction) -> None:
        """Apply the outcomes of POSTs."""
        claimed = {event.answer for event in events if isinstance(event.answer, str)} - {EMPTY_GUID}
        known = queries.known_executions(transaction, claimed) if claimed else {}
        for event in events:
            run = self._runs.get(event.run)
            if run is None or run.state is not RunState.INTENDED:
                continue
            run.outage = None
            if event.expired:
                self._conclude(run, EXPIRED)
            elif isinstance(event.answer, QlikUnavailable):
                self._unavailable(run, event.answer)
            elif isinstance(event.answer, OutcomeUnknown) and event.answer.by_another:
                self._by_another(run, event.answer)
            else:
                self._backoff.succeeded()
                self._deadlines.restart()
                if event.answer == EMPTY_GUID:
                    self._answered_empty(run, event, transaction)
                elif isinstance(event.answer, str) or event.answer is None:
                    self._answered_id(run, event.answer, known)
                elif isinstance(event.answer, QlikRefused):
                    self._refused(run, event.answer)
                else:
                    self._in_doubt(run, event.answer)

    def read(self, tasks: Mapping[str, Task | None], asked_at: float) -> None:
        """Apply tasks as they were read for runs to be posted again, at the monotonic time *asked_at*."""
        for run in self.repeated.read(tasks, asked_at):
            if run.attempts > 1 and run.baseline.is_before(run.task):
                self.repeated.remove(run)
                self._in_doubt(run, OutcomeUnknown("its task was started since, maybe by an earlier POST"))

    def polled(self, event: Polled, transaction: Transaction) -> None:
        """Apply what a poll showed of the task of a run in doubt."""
        run = self._runs.get(event.run)
        if run is not None:
            self._conclude(run, self._reconciler.polled(run, event, transaction))

    def drop_late(self) -> None:
        """Drop the runs, or those of their starts, of which nothing was sent and that are too late."""
        now = now_ms()
        for run in list(self.repeated):
            conclusion = self._deadlines.of_run(run)
            late = [start for start in run.starts if start.expires_at is not None and start.expires_at <= now]
            if conclusion is None and len(late) == len(run.starts):
                conclusion = EXPIRED
            if conclusion is not None:
                self.repeated.remove(run)
                self._conclude(run, conclusion)
            elif late:
                run.starts = [start for start in run.starts if start not in late]
                self._ledger.starts.dropped(late, EXPIRED.code, EXPIRED.details, EXPIRED.state)

    def _end_unserving(self, run: Run) -> None:
        """End a run that serves no starts any more, of which nothing was sent."""
        self._ledger.runs.began_nothing(run)
        self._runs.pop(run.id)
        self._pending.queues.release(run.task.id)

    # ---- answers to POSTs

    def _answered_empty(self, run: Run, event: Posted, transaction: Transaction) -> None:
        if event.snapshot is None:
            self._reconciler.doubt(run, Doubt.EMPTY)
        else:
            run.doubt = Doubt.EMPTY
            self._conclude(run, self._reconciler.judge(run, event.snapshot, time.monotonic(), transaction))

    def _answered_id(self, run: Run, execution_id: str | None, known: dict[str, int]) -> None:
        if execution_id is not None and (
            known.get(execution_id, run.id) != run.id or self._id_trust.may_be_old(run, execution_id)
        ):
            run.claimed = execution_id
            self._reconciler.doubt(run, Doubt.CLAIMED)
        else:
            self._conclude(run, Began(execution_id))

    def _unavailable(self, run: Run, error: QlikUnavailable) -> None:
        pause = self._backoff.failed(error.retry_after)
        self.repeated.add(run)
        _log.log(
            self._waiting_lines.level(str(error)),
            "task %s (%s) is not started yet: %s; next try in %.1f s",
            run.task.name,
            run.task.id,
            error,
            pause,
            extra={"action": "qrs_waiting", "request_id": run.starts[0].request_id},
        )

    def _refused(self, run: Run, error: QlikRefused) -> None:
        if error.status in {400, 404}:
            # Which of the two a server answers for an unknown task is not certain: read what it shows.
            run.refusal = error
            self._reconciler.doubt(run, Doubt.REFUSED)
            return
        refusal = refused_by_qlik(error)
        self._conclude(run, NotStarted(refusal.code, refusal.details))

    def _in_doubt(self, run: Run, error: Exception) -> None:
        self._ledger.runs.posted(run, str(error))
        _log.warning(
            "the outcome of starting task %s (%s) is not known: %s; reading it from the server",
            run.task.name,
            run.task.id,
            error,
            extra={"action": "run_in_doubt", "request_id": run.starts[0].request_id},
        )
        self._reconciler.doubt(run, Doubt.OUTCOME)

    def _by_another(self, run: Run, error: OutcomeUnknown) -> None:
        """Reconcile a start that another answered in the repository's place: an outage if nothing began."""
        self._backoff.failed()
        run.outage = str(error)
        if run.attempts == 1:
            self._in_doubt(run, error)
            return
        self._ledger.runs.posted(run, str(error))
        _log.log(
            self._waiting_lines.level(str(error)),
            "task %s (%s) is not started yet: %s",
            run.task.name,
            run.task.id,
            error,
            extra={"action": "qrs_waiting", "request_id": run.starts[0].request_id},
        )
        self._reconciler.doubt(run, Doubt.OUTCOME)

    # ---- conclusions

    def _conclude(self, run: Run, conclusion: Conclusion | None) -> None:
        """Record what is concluded about *run*; None: it stays in doubt."""
        match conclusion:
            case None:
                return
            case PostAgain(renewed):
                if renewed:
                    run.baseline = Baseline.of(run.task, self._server_time())
                self._ledger.runs.again(run, renewed=renewed)
                run.claimed = None
                self.repeated.add(run)
                return
            case Began(execution_id, adopted):
                self._began(run, execution_id, adopted=adopted)
            case RanAlready(execution):
                self._id_trust.ran_already(run)
                self._busy_tasks.ran_already(run, execution)
            case AppRuns(execution):
                self._busy_tasks.app_runs(run, execution)
            case NotStarted(code, details, state):
                self._ledger.runs.not_started(run, code, details, state)
            case Undecidable(details):
                self._ledger.runs.unknown(run, details)
        self._runs.pop(run.id, None)
        self._pending.queues.release(run.task.id)

    def _began(self, run: Run, execution_id: str | None, *, adopted: bool) -> None:
        self._ledger.runs.executing(run, execution_id, adopted=adopted)
        self._id_trust.began(run)
        if execution_id is not None:
            before, now = run.baseline.server_date, self._server_time()
            window = None if adopted or before is None or now is None else (before, now)
            self._tracker.track(execution_id, run.task, run.id, run.starts, {"started"}, window=window)
