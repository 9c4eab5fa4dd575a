"""
Carries out starts: intent on disk, one POST, its outcome on disk.

At most one run of a task is between intent and outcome. A POST is repeated by
itself only when nothing can have been sent.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Completion, Posted
from butler_mqtt.domain.model import EMPTY_GUID, Execution, Task
from butler_mqtt.domain.open_work import Doubt, OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline, began_after_reading
from butler_mqtt.domain.states import RunState, StartState
from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.qrs.pauses import pause_after
from butler_mqtt.resolving.rereading import Rereading
from butler_mqtt.resolving.resolver import refused_by_qlik
from butler_mqtt.settings import StartTask
from butler_mqtt.starting.blocked_starts import BlockedStarts
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.post_workers import PostWorkers
from butler_mqtt.starting.reconciler import Reconciler
from butler_mqtt.starting.task_queues import TaskQueues

#: Longest pause between two tries while the server cannot be reached, in seconds.
MAX_PAUSE_SECONDS = 10.0
#: Seconds between two questions for the site's capacity (`maxConcurrentReloads: auto`).
CAPACITY_SECONDS = 300.0
#: Runs in hand for each thread that posts: as many as it gets done while one turn is written, so that a
#: burst is written in few large turns. After a crash each of them is looked at once more.
IN_HAND = 16
#: As many at first, so that a daemon that is killed again and again leaves few to be looked at; one more for
#: each so many outcomes, and twice as many where threads had nothing to post although starts stood ready.
FIRST_IN_HAND = 4
OUTCOMES_FOR_MORE = 32
#: Starts that stand ready, from which on they go before looks at executions.
MANY_PLANNED = 100
#: Ids that prove new, after which a server is taken to give new ones only.
MAX_UNPROVED = 20
#: More than ever begin in one turn.
MAX_RELOADS = 1_000_000

_EXPIRED = ("expired", "it had not begun when the time of the request was over", StartState.EXPIRED)

_log = logging.getLogger("butler_mqtt.starter")


class Dispatcher:
    """
    Gives every planned start its outcome.

    Args:
        settings: Limits and deadlines.
        turn: Gathers what is to be done after the commit.
        ledger: Where intents and outcomes are recorded.
        emit: Hands an event to the pipeline; called from the starter's threads.
        want: Asks for a task, by id, which then comes through `read`.
        server_time: The server's clock as last seen.
        our_user: User id under which we start.
    """

    def __init__(
        self,
        settings: StartTask,
        turn: UnitOfWork,
        ledger: Ledger,
        *,
        emit: Callable[[Completion], None],
        want: Callable[[str], None],
        server_time: Callable[[], datetime | None],
        our_user: str = "",
    ) -> None:
        self._settings = settings
        self._turn = turn
        self._ledger = ledger
        self._server_time = server_time
        self._queues = TaskQueues()
        self._blocked = BlockedStarts()
        self._rereading = Rereading(want)
        self._runs: dict[int, Run] = {}
        #: Runs given to the threads in this turn or before.
        self._posting: set[int] = set()
        self._repeat: deque[Run] = deque()
        self._outcomes = 0
        self._in_hand = FIRST_IN_HAND
        #: The last turn would have handed more over.
        self._more = False
        self._failures = 0
        self._paused_until = 0.0
        self._answered = time.monotonic()
        given = settings.max_concurrent_reloads
        self._capacity = given if isinstance(given, int) else 0
        self._ask_capacity_at = 0.0
        #: Ids still to be looked at before they are believed where they might be old ones.
        self._unproved = MAX_UNPROVED
        self.post_workers = PostWorkers(emit)
        self.tracker = ExecutionTracker(
            ledger,
            emit=emit,
            freed=self._waiting_freed,
            seen=self._waiting_seen,
            log_lines=settings.script_log_lines,
        )
        self.reconciler = Reconciler(
            self, emit=emit, deadline=settings.request_deadline_seconds, our_user=our_user
        )

    @property
    def planned(self) -> int:
        """Count the starts that wait for their turn."""
        return len(self._queues)

    @property
    def in_hand(self) -> int:
        """Count the POSTs whose outcome is not on disk."""
        return len(self.post_workers.in_hand)

    # ---- turns of the pipeline

    def add(self, starts: Iterable[OpenStart]) -> None:
        """Take planned starts in, in order of arrival."""
        for start in starts:
            if start.not_before is not None and start.not_before > now_ms():
                self._ledger.starts.waits(start, "notBefore")
                self._blocked.until(start, start.not_before)
            else:
                self._enter(start)

    def wait_again(self, start: OpenStart) -> None:
        """Take a waiting start in that was read from the journal."""
        if start.reason == "notBefore":
            self._blocked.until(start, start.not_before or 0)
        elif start.reason == "running":
            self._block(start.task, start.behind)
            # What it waits behind may have ended before it came, in the life before this one.
            start.waits_since = time.monotonic()
            self._blocked.add(start)
        else:
            self._enter(start)

    def load(self, run: Run) -> None:
        """Take in a run read from the journal that has no outcome."""
        self._runs[run.id] = run
        self._queues.occupy(run.task.id)
        # POSTED on disk: its answer was taken in, and only the turn that did so seemed to fail.
        if run.id in self.post_workers.in_hand and run.state is RunState.INTENDED:
            return
        if run.state is RunState.INTENDED:
            self._ledger.runs.posted(run, "the daemon ended before the outcome was recorded")
        self.reconciler.doubt(run, Doubt.OUTCOME)

    def reset(self) -> None:
        """Forget everything but what the threads have in hand; the rest is read again from the journal."""
        self._queues = TaskQueues()
        self._blocked = BlockedStarts()
        self._rereading.reset()
        self._runs.clear()
        self._repeat.clear()
        self._posting = set(self.post_workers.in_hand)
        self.reconciler.reset()
        self.tracker.reset()

    def posted(self, events: Sequence[Posted], transaction: Transaction) -> None:
        """Take in the outcomes of POSTs."""
        claimed = {event.answer for event in events if isinstance(event.answer, str)} - {EMPTY_GUID}
        known = queries.known_executions(transaction, claimed) if claimed else {}
        self._outcomes += len(events)
        for event in events:
            self._posting.discard(event.run)
            # Kept until the outcome is on disk: should that fail, the event is applied once more.
            # Before it may be posted once more.
            self._turn.at_once_after(self.post_workers.settled, event.run)
            run = self._runs.get(event.run)
            if run is not None and run.state is RunState.INTENDED:
                self._outcome(run, event, known, transaction)

    def give_up(self) -> None:
        """Drop what is too late and has not begun."""
        for start in self._blocked.expired():
            self._ledger.starts.dropped([start], *_EXPIRED)
        now, silent_since = now_ms(), self._answered
        silent = time.monotonic() - silent_since >= self._settings.request_deadline_seconds
        # In a burst thousands stand there: they are gone through only where one can be too late.
        if self._queues.expiring or silent or len(self._rereading):
            late = self._queues.remove(lambda start: self._verdict(start, now, silent_since) is not None)
            held, tasks = self._rereading.remove(
                lambda start: self._verdict(start, now, silent_since) is not None
            )
            for start in late + held:
                self._ledger.starts.dropped([start], *(self._verdict(start, now, silent_since) or _EXPIRED))
            for task_id in tasks:
                self._queues.release(task_id)
        for run in list(self._repeat):
            self._give_up_run(run, now)

    def turn(self) -> None:
        """Hand over what may be posted."""
        for start in self._blocked.due():
            self._enter(start)
        if time.monotonic() < self._paused_until:
            return
        # While the server does not answer one POST probes; else some wait in hand to hide the commit.
        limit = 1 if self._failures else self._depth() * self._settings.max_concurrent_starts
        self._more = False
        room = self._room_for_reloads()
        while len(self._posting) < limit:
            if self._repeat:
                run = self._repeat.popleft()
            elif starts := self._rereading.take():  # room was kept for them
                run = self._intend(starts)
            elif room > 0 and (starts := self._next_starts()):
                room -= 1
                if self._is_to_be_read(starts):
                    self._rereading.hold(starts)
                    continue
                run = self._intend(starts)
            else:
                return
            self._posting.add(run.id)
            self._turn.at_once_after(self._hand_over, run)
        self._more = room > 0

    def _depth(self) -> int:
        """Give how many runs are in hand for each thread."""
        if self._more and self.post_workers.idle:
            self._in_hand *= 2
        self._in_hand = min(IN_HAND, max(self._in_hand, FIRST_IN_HAND + self._outcomes // OUTCOMES_FOR_MORE))
        return self._in_hand

    def snapshot(self) -> None:
        """Hand over the looks that are due."""
        self.reconciler.turn()
        self.tracker.turn(busy=len(self._queues) >= MANY_PLANNED)

    def heard(self) -> None:
        """Note that the server answered a follower's question: it is not silent."""
        self._answered = time.monotonic()

    def read(self, tasks: Mapping[str, Task | None], asked_at: float) -> None:
        """Take in tasks that were wanted, asked for at the monotonic time `asked_at`; None: not shown."""
        self._rereading.read(tasks, asked_at)

    def resumed(self) -> None:
        """Begin the deadlines anew: the process stood still, and the server may long be back."""
        self._answered = time.monotonic()
        self.reconciler.resumed()

    def capacity_read(self, reloads: int) -> None:
        """Let so many executions of ours run at one time; 0: as many as the server takes."""
        self._capacity = reloads

    # ---- verdicts on runs, also from the settler

    def began(self, run: Run, execution_id: str | None, *, adopted: bool) -> None:
        """Record that an execution began for a run, and follow it."""
        self._ledger.runs.executing(run, execution_id, adopted=adopted)
        if run.doubt is Doubt.CLAIMED:
            self._unproved -= 1
        if execution_id is not None:
            before, now = run.baseline.server_date, self._server_time()
            window = None if adopted or before is None or now is None else (before, now)
            self.tracker.follow(execution_id, run.task, run.id, run.starts, {"started"}, window=window)
        self._done(run)

    def busy(self, run: Run, execution: Execution) -> None:
        """Let the starts of a run that met a running execution share it, skip, or wait behind it."""
        if run.doubt is Doubt.CLAIMED:
            self._unproved = sys.maxsize  # this server answers with the id of what runs
        elif run.doubt is Doubt.EMPTY:
            self._unproved = 0  # this one does not
        shared = [start for start in run.starts if _serves(execution, start)]
        others = [start for start in run.starts if start not in shared]
        if shared and execution.id is not None:
            self._share(run, execution.id, shared)
        else:
            others = run.starts
            self._ledger.runs.began_nothing(run)
        self._ledger.starts.skipped([start for start in others if start.skip_if_running], execution.id)
        waiting = [start for start in others if not start.skip_if_running]
        if waiting:
            self._block(run.task, execution.id)
        for start in waiting:
            self._wait_behind(start, execution.id, seen=True)
        # The others in the lane know now what the server would answer them.
        if waiting:
            for start in self._queues.remove_of(run.task.id, lambda start: not start.skip_if_running):
                self._wait_behind(start, execution.id)
        self._done(run)

    def not_started(
        self, run: Run, code: str, details: str, state: StartState = StartState.NOT_STARTED
    ) -> None:
        """Record that a run began nothing."""
        self._ledger.runs.not_started(run, code, details, state)
        self._done(run)

    def unknown(self, run: Run, details: str) -> None:
        """Record that nobody can tell what became of a run."""
        self._ledger.runs.unknown(run, details)
        self._done(run)

    def found_nothing(self, run: Run) -> None:
        """Take note that a look found nothing of a run for the first time."""
        self._ledger.runs.found_nothing(run)

    def polled(self, run: Run, text: str) -> None:
        """Take note of what a look at the server showed."""
        self._ledger.notes.of_run(run, "looked", text)

    def post_again(self, run: Run) -> None:
        """Post a run once more that began nothing."""
        self._ledger.runs.again(run)
        run.claimed = None
        self._repeat.append(run)

    # ---- helpers

    def _room_for_reloads(self) -> int:
        """Give how many more executions of ours may begin; tell those that have to wait for that."""
        if self._settings.max_concurrent_reloads == "auto" and time.monotonic() >= self._ask_capacity_at:
            self._ask_capacity_at = time.monotonic() + CAPACITY_SECONDS
            self.tracker.ask_capacity()
        if not self._capacity:
            return MAX_RELOADS
        room = self._capacity - self.tracker.executing - len(self._runs) - len(self._rereading)
        if room <= 0:
            for start in self._queues.planned():
                self._ledger.starts.waits(start, "capacity")
        return room

    def _enter(self, start: OpenStart) -> None:
        task = start.task
        if not task.has_sessions and task.enabled is False:
            # The asynchronous call answers 204 for a disabled task too, which would be a lie to pass on.
            details = f"the task '{task.name}' is disabled: enable it in the QMC"
            self._ledger.starts.dropped([start], "task_disabled", details, StartState.NOT_STARTED)
            return
        blocked, behind = self._blocked.behind(task.id)
        if blocked and not start.skip_if_running:
            self._wait_behind(start, behind)
        else:
            # What has waited was not kept waiting by the server.
            planned = start.state is StartState.PLANNED and start.owner is not None
            start.entered = start.owner.entered if planned and start.owner else time.monotonic()
            self._queues.add(start)

    def _wait_behind(self, start: OpenStart, execution_id: str | None, *, seen: bool = False) -> None:
        """Let *start* wait; *seen*: the execution was seen to run after the start came."""
        start.waits_since = 0.0 if seen else time.monotonic()
        self._ledger.starts.waits(start, "running", execution_id)
        self._blocked.add(start)

    def _block(self, task: Task, execution_id: str | None) -> None:
        self._blocked.block(task, execution_id)
        if execution_id is not None:
            self.tracker.wait_for(execution_id, task)

    def _waiting_freed(self, task_id: str, execution_id: str) -> None:
        self._blocked.free(task_id, execution_id)

    def _waiting_seen(self, task_id: str, execution_id: str, asked_at: float) -> None:
        self._blocked.seen(task_id, execution_id, asked_at)

    def _share(self, run: Run, execution_id: str, starts: list[OpenStart]) -> None:
        """Let an execution that another began serve *starts* too."""
        watch = self.tracker.get(execution_id)
        if watch is not None and watch.run is not None:
            self._ledger.runs.began_nothing(run)
            self._ledger.starts.running(starts, watch.run, execution_id, adopted=True)
            watch.starts.extend(starts)
        else:
            run.starts = starts
            self._ledger.runs.executing(run, execution_id, adopted=True)
            self.tracker.follow(execution_id, run.task, run.id, starts, {"started"})

    def _hand_over(self, run: Run) -> None:
        self.post_workers.post(run)
        self._turn.counting.posted(max(0.0, time.monotonic() - run.starts[0].entered))

    def _intend(self, starts: list[OpenStart]) -> Run:
        baseline = Baseline.of(starts[0].task, self._server_time())
        run = self._ledger.runs.intended(starts, baseline, time.monotonic())
        self._runs[run.id] = run
        return run

    def _next_starts(self) -> list[OpenStart]:
        """Take the starts of one task whose turn it is; they share a run."""
        starts = self._blocked.take(self._queues.is_taken)
        if starts:
            self._queues.occupy(starts[0].task.id)
            return starts
        start = self._queues.take()
        while start is not None and start.expires_at is not None and start.expires_at <= now_ms():
            self._ledger.starts.dropped([start], *_EXPIRED)
            self._queues.release(start.task.id)
            start = self._queues.take()
        # Whatever waits for this task is served by an execution that begins now.
        return [start, *self._blocked.join(start.task.id)] if start is not None else []

    def _is_to_be_read(self, starts: Sequence[OpenStart]) -> bool:
        """
        Tell whether the task of *starts* is to be read once more before the POST.

        Some servers may answer for a task that runs with the id of what runs
        [assumed]: only a reading after the starts came tells that id from a new
        one. Once the server has shown that it is not of that kind, or often enough
        that its ids are new, an older reading will do.
        """
        if any(start.unread or (start.found_before and self.tracker.clocks_differ) for start in starts):
            return True
        waited = any(start.reason == "running" and not start.seen_behind for start in starts)
        if not waited or self._unproved <= 0:
            return False
        self._unproved -= 1
        return True

    def _outcome(self, run: Run, event: Posted, known: dict[str, int], transaction: Transaction) -> None:
        answer = event.answer
        if event.expired:
            self.not_started(run, *_EXPIRED)
            return
        if isinstance(answer, QlikUnavailable):
            self._unavailable(run, answer)
            return
        self._failures = 0
        self._paused_until = 0.0
        self._answered = time.monotonic()
        if answer == EMPTY_GUID:
            if event.snapshot is None:
                self.reconciler.doubt(run, Doubt.EMPTY)
            else:
                run.doubt = Doubt.EMPTY
                self.reconciler.judge(run, event.snapshot, time.monotonic(), transaction)
        elif isinstance(answer, str) and (
            known.get(answer, run.id) != run.id or self._may_be_old(run, answer)
        ):
            run.claimed = answer
            self.reconciler.doubt(run, Doubt.CLAIMED)
        elif answer is None or isinstance(answer, str):
            self.began(run, answer, adopted=False)
        elif isinstance(answer, QlikRefused):
            self._refused(run, answer)
        else:
            self._ledger.runs.posted(run, str(answer))
            _log.warning(
                "the outcome of starting task %s (%s) is not known: %s; looking at the server",
                run.task.name,
                run.task.id,
                answer,
                extra={"action": "run_in_doubt", "request_id": run.starts[0].request_id},
            )
            self.reconciler.doubt(run, Doubt.OUTCOME)

    def _may_be_old(self, run: Run, answer: str) -> bool:
        """
        Tell whether an execution id may be that of an execution which ran before the POST.

        It may have run when the task was read, or since, if that was for an
        earlier request.
        """
        if run.task.last is not None and run.task.last.active:
            return True
        if any(start.behind == answer for start in run.starts):
            return True
        return self._unproved > 0 and any(start.found_before for start in run.starts)

    def _unavailable(self, run: Run, error: QlikUnavailable) -> None:
        if time.monotonic() >= self._paused_until:  # what failed together with another tells nothing new
            self._failures += 1
        pause = error.retry_after
        if pause is None:
            pause = pause_after(self._failures)
        self._paused_until = time.monotonic() + min(MAX_PAUSE_SECONDS, pause)
        self._repeat.append(run)
        _log.info(
            "task %s (%s) is not started yet: %s; next try in %.1f s",
            run.task.name,
            run.task.id,
            error,
            min(MAX_PAUSE_SECONDS, pause),
            extra={"action": "qrs_waiting", "request_id": run.starts[0].request_id},
        )

    def _refused(self, run: Run, error: QlikRefused) -> None:
        if error.status in {400, 404}:
            # Which of the two a server gives for an unknown task is not certain: ask what it shows.
            run.refusal = error
            self.reconciler.doubt(run, Doubt.REFUSED)
            return
        refusal = refused_by_qlik(error)
        self.not_started(run, refusal.code, refusal.details)

    def _done(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        self._queues.release(run.task.id)

    def _give_up_run(self, run: Run, now: int) -> None:
        """Drop a run nothing of which was sent: all of it, or the starts whose time is over."""
        deadline = self._settings.request_deadline_seconds
        if time.monotonic() - max(run.since, self._answered) >= deadline:
            self._repeat.remove(run)
            self.not_started(run, *self._unreachable())
            return
        late = [start for start in run.starts if start.expires_at is not None and start.expires_at <= now]
        if len(late) == len(run.starts):
            self._repeat.remove(run)
            self.not_started(run, *_EXPIRED)
        elif late:
            run.starts = [start for start in run.starts if start not in late]
            self._ledger.starts.dropped(late, *_EXPIRED)

    def _verdict(self, start: OpenStart, now: int, silent_since: float) -> tuple[str, str, StartState] | None:
        if start.expires_at is not None and start.expires_at <= now:
            return _EXPIRED
        late = time.monotonic() - max(start.entered, silent_since)
        return self._unreachable() if late >= self._settings.request_deadline_seconds else None

    def _unreachable(self) -> tuple[str, str, StartState]:
        deadline = self._settings.request_deadline_seconds
        details = f"the Qlik Repository Service took no start for {deadline:g} s; nothing was started"
        return "qrs_unavailable", details, StartState.NOT_STARTED


def _serves(execution: Execution, start: OpenStart) -> bool:
    """Tell whether an execution that another began certainly began after *start* came; ids decide."""
    if start.state is StartState.WAITING and start.reason == "running":
        # What it waits behind was seen to run after it came, and a task runs once at a time.
        return start.seen_behind and start.behind is not None and execution.id != start.behind
    read_after = not start.found_before and not start.unread
    return read_after and began_after_reading(execution, start.task)
