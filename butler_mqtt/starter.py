"""
Carries out starts: intent on disk, one POST, its outcome on disk.

At most one run of a task is between intent and outcome. A POST is repeated by
itself only when nothing can have been sent.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from sqlalchemy import Connection

from butler_mqtt.clock import now_ms
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.events import Event, Posted
from butler_mqtt.finder import refused_by_qlik
from butler_mqtt.journal import reading
from butler_mqtt.lanes import Lanes
from butler_mqtt.ledger import Ledger
from butler_mqtt.model import EMPTY_GUID, Look, Task
from butler_mqtt.records import Doubt, OpenStart, Run
from butler_mqtt.settings import StartTask
from butler_mqtt.settlement import Baseline
from butler_mqtt.settler import Settler
from butler_mqtt.states import RunState, StartState

#: Longest pause between two tries while the server cannot be reached, in seconds.
MAX_PAUSE_SECONDS = 10.0

_NO_REASON = ("internal_error", "it was given up without a reason", StartState.NOT_STARTED)

_log = logging.getLogger("butler_mqtt.starter")


class Starting(Protocol):
    """The side of the Qlik server that starts tasks."""

    def start(self, task: Task) -> str | None:
        """Post one start; raises QlikUnavailable, QlikRefused or OutcomeUnknown."""

    def look(self, task: Task) -> Look:
        """Read a task with its sessions and results; raises QlikUnavailable or QlikRefused."""


class Starter:
    """
    Gives every planned start its outcome.

    Args:
        settings: Limits and deadlines.
        ledger: Where intents and outcomes are recorded.
        emit: Hands an event to the pipeline; called from the starter's threads.
        server_time: The server's clock as last seen.
        our_user: User id under which we start.
    """

    def __init__(
        self,
        settings: StartTask,
        ledger: Ledger,
        *,
        emit: Callable[[Event], None],
        server_time: Callable[[], datetime | None],
        our_user: str = "",
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._emit = emit
        self._server_time = server_time
        self._lanes = Lanes()
        self._runs: dict[int, Run] = {}
        #: Runs given to the threads in this turn or before, and those really handed over.
        self._posting: set[int] = set()
        self._handed: set[int] = set()
        self._repeat: deque[Run] = deque()
        self._jobs: SimpleQueue[tuple[int, Task] | None] = SimpleQueue()
        self._failures = 0
        self._paused_until = 0.0
        self._answered = time.monotonic()
        self.settler = Settler(
            ledger,
            emit=emit,
            done=self._done,
            post_again=self._repeat.append,
            deadline=settings.request_deadline_seconds,
            our_user=our_user,
        )

    @property
    def planned(self) -> int:
        """Count the starts that wait for their turn."""
        return len(self._lanes)

    @property
    def clock_needed(self) -> bool:
        """Tell whether starts wait for a first answer of the server, whose time belongs to each intent."""
        return bool(len(self._lanes) or self._repeat) and self._server_time() is None

    @property
    def in_hand(self) -> int:
        """Count the POSTs whose outcome is not on disk."""
        return len(self._handed)

    # ---- the threads that post

    def work(self, qlik: Starting) -> None:
        """Post, job by job, until `stop`; runs in several threads."""
        while (job := self._jobs.get()) is not None:
            run_id, task = job
            look = None
            try:
                answer: str | QlikError | None = qlik.start(task)
                if answer == EMPTY_GUID:
                    look = _try_look(qlik, task)
            except QlikError as error:
                answer = error
            self._emit(Posted(run_id, answer, look))

    def stop(self) -> None:
        """Let one thread in `work` end after the job in hand."""
        self._jobs.put(None)

    # ---- turns of the pipeline

    def add(self, starts: Iterable[OpenStart]) -> None:
        """Take planned starts in, in order of arrival."""
        for start in starts:
            if not start.task.has_sessions and start.task.enabled is False:
                # The asynchronous call answers 204 for a disabled task too, which would be a lie to pass on.
                details = f"the task '{start.task.name}' is disabled: enable it in the QMC"
                self._ledger.dropped(start, "task_disabled", details, StartState.NOT_STARTED)
            else:
                self._lanes.add(start)

    def reset(self) -> None:
        """Forget everything but what the threads have in hand; the rest is read again from the journal."""
        self._lanes = Lanes()
        self._runs.clear()
        self._repeat.clear()
        self._posting = set(self._handed)
        self.settler.reset()

    def load(self, run: Run) -> None:
        """Take in a run read from the journal that has no outcome."""
        self._runs[run.id] = run
        self._lanes.occupy(run.task.id)
        if run.id in self._handed:
            return
        if run.state is RunState.INTENDED:
            self._ledger.posted(run, "the daemon ended before the outcome was recorded")
        self.settler.doubt(run, Doubt.OUTCOME)

    def posted(self, events: Sequence[Posted], connection: Connection) -> None:
        """Take in the outcomes of POSTs."""
        claimed = {event.answer for event in events if isinstance(event.answer, str)} - {EMPTY_GUID}
        known = reading.known_executions(connection, claimed) if claimed else {}
        for event in events:
            self._posting.discard(event.run)
            # Kept until the outcome is on disk: should that fail, the event is applied once more.
            self._ledger.effects.append(partial(self._handed.discard, event.run))
            run = self._runs.get(event.run)
            if run is not None and run.state is RunState.INTENDED:
                self._outcome(run, event, known, connection)

    def give_up(self) -> None:
        """Drop what is too late and has not begun."""
        late = partial(_too_late, now=now_ms(), silent_since=self._answered, settings=self._settings)
        for start in self._lanes.remove(lambda start: late(start) is not None):
            self._ledger.dropped(start, *(late(start) or _NO_REASON))
        for run in [run for run in self._repeat if late(run.starts[0]) is not None]:
            self._repeat.remove(run)
            self._ledger.not_started(run, *(late(run.starts[0]) or _NO_REASON))
            self._done(run)

    def turn(self) -> None:
        """Hand over what may be looked at or posted."""
        self.settler.turn()
        if time.monotonic() < self._paused_until:
            return
        # While the server does not answer one POST probes; else some wait in hand to hide the commit.
        limit = 1 if self._failures else 2 * self._settings.max_concurrent_starts
        if self.clock_needed:
            return
        while len(self._posting) < limit:
            run = self._repeat.popleft() if self._repeat else self._next_run()
            if run is None:
                return
            self._posting.add(run.id)
            self._ledger.effects.append(partial(self._hand_over, run.id, run.task))

    # ---- helpers

    def _hand_over(self, run_id: int, task: Task) -> None:
        self._handed.add(run_id)
        self._jobs.put((run_id, task))

    def _next_run(self) -> Run | None:
        start = self._lanes.take()
        while start is not None and (late := _expired(start, now_ms())) is not None:
            self._ledger.dropped(start, *late)
            self._lanes.release(start.task.id)
            start = self._lanes.take()
        if start is None:
            return None
        last = start.task.last
        baseline = Baseline(
            last.result_id if last else None, last.began if last else None, self._server_time()
        )
        run = self._ledger.intended([start], baseline, time.monotonic())
        self._runs[run.id] = run
        return run

    def _outcome(self, run: Run, event: Posted, known: dict[str, int], connection: Connection) -> None:
        answer = event.answer
        if isinstance(answer, QlikUnavailable):
            self._unavailable(run, answer)
            return
        self._failures = 0
        self._paused_until = 0.0
        self._answered = time.monotonic()
        if answer == EMPTY_GUID:
            if event.look is None:
                self.settler.doubt(run, Doubt.EMPTY)
            else:
                run.doubt = Doubt.EMPTY
                self.settler.judge(run, event.look, connection)
        elif isinstance(answer, str) and (known.get(answer, run.id) != run.id or _ran_before(run)):
            run.claimed = answer
            self.settler.doubt(run, Doubt.CLAIMED)
        elif answer is None or isinstance(answer, str):
            self._ledger.executing(run, answer)
            self._done(run)
        elif isinstance(answer, QlikRefused):
            self._refused(run, answer)
        else:
            self._ledger.posted(run, str(answer))
            _log.warning(
                "the outcome of starting task %s (%s) is not known: %s; looking at the server",
                run.task.name,
                run.task.id,
                answer,
                extra={"action": "run_in_doubt", "request_id": run.starts[0].owner.request_id},
            )
            self.settler.doubt(run, Doubt.OUTCOME)

    def _unavailable(self, run: Run, error: QlikUnavailable) -> None:
        self._failures += 1
        pause = error.retry_after
        if pause is None:
            pause = 0.25 * 2**self._failures * random.uniform(0.5, 1)  # noqa: S311 -- jitter
        self._paused_until = time.monotonic() + min(MAX_PAUSE_SECONDS, pause)
        self._repeat.append(run)
        _log.info(
            "task %s (%s) is not started yet: %s; next try in %.1f s",
            run.task.name,
            run.task.id,
            error,
            min(MAX_PAUSE_SECONDS, pause),
            extra={"action": "qrs_waiting", "request_id": run.starts[0].owner.request_id},
        )

    def _refused(self, run: Run, error: QlikRefused) -> None:
        if error.status in {400, 404}:
            # Which of the two a server gives for an unknown task is not certain: ask what it shows.
            run.refusal = error
            self.settler.doubt(run, Doubt.REFUSED)
            return
        refusal = refused_by_qlik(error)
        self._ledger.not_started(run, refusal.code, refusal.details)
        self._done(run)

    def _done(self, run: Run) -> None:
        self._runs.pop(run.id, None)
        self._lanes.release(run.task.id)


def _expired(start: OpenStart, now: int) -> tuple[str, str, StartState] | None:
    expires_at = start.owner.expires_at
    if expires_at is None or expires_at > now:
        return None
    return "expired", "it had not begun when the time of the request was over", StartState.EXPIRED


def _too_late(
    start: OpenStart, *, now: int, silent_since: float, settings: StartTask
) -> tuple[str, str, StartState] | None:
    if (expired := _expired(start, now)) is not None:
        return expired
    deadline = settings.request_deadline_seconds
    if time.monotonic() - max(start.owner.entered, silent_since) >= deadline:
        details = f"the Qlik Repository Service took no start for {deadline:g} s; nothing was started"
        return "qrs_unavailable", details, StartState.NOT_STARTED
    return None


def _ran_before(run: Run) -> bool:
    """Tell whether the task ran before the POST, so that an execution id may be the old one's."""
    return run.task.last is not None and run.task.last.active


def _try_look(qlik: Starting, task: Task) -> Look | None:
    try:
        return qlik.look(task)
    except QlikError:
        return None
