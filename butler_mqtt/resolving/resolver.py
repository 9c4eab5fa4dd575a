"""
Resolves requests to their tasks: requests that wait share one query.

Requests are decided strictly in the order of arrival, so that two requests for
one task start it in that order.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Answers, Completion, Resolved
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.errors import QlikError, QlikRefused, RequestError
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.resolving.answer_cache import AnswerCache
from butler_mqtt.resolving.gates import Gates
from butler_mqtt.resolving.outage_backoff import Backoff
from butler_mqtt.resolving.request_decisions import RequestDecisions
from butler_mqtt.resolving.stage_questions import StageQuestions, selectors_of
from butler_mqtt.settings import Settings

#: Selectors asked for at once.
MAX_SELECTORS = 400

_log = logging.getLogger("butler_mqtt.resolver")


class Tasks(Protocol):
    """The side of the Qlik server that resolves selectors."""

    def find(self, selectors: list[Selector]) -> Answers:
        """Return the tasks of each selector; raises QlikUnavailable or QlikRefused."""


@dataclass(frozen=True, slots=True)
class _ResolveJob:
    number: int
    selectors: list[Selector]
    requests: frozenset[int]
    refreshes: tuple[Selector, ...]
    questions: tuple[int, ...]
    asked_at: float


class Resolver:
    """
    Holds the requests whose tasks are not known and asks the server for them.

    Args:
        settings: The allow-list and limits.
        ledger: Where decisions are recorded.
        emit: Submits an event to the pipeline; called from the resolver's thread.
        timings: Ages of answers, the longest pause while the server is unreachable, and the most starts.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        emit: Callable[[Completion], None],
        timings: QlikTimings,
    ) -> None:
        self._deadline = settings.start_task.request_deadline_seconds
        self._ledger = ledger
        self._emit = emit
        #: Tasks to be read whatever the cache has.
        self._refreshes: dict[Selector, None] = {}
        self._waiting: deque[OpenRequest] = deque()
        self._cache = AnswerCache(timings)
        self._jobs: SimpleQueue[_ResolveJob | None] = SimpleQueue()
        self._job: _ResolveJob | None = None
        self._numbers = itertools.count()
        self._backoff = Backoff(timings.longest_pause)
        self._most_planned = timings.most_planned
        self._waiting_lines = RepeatedLines()
        self._answered = time.monotonic()
        self._decided: list[OpenStart] = []
        #: What stages mean whose turn has come.
        self.stage_questions = StageQuestions()
        self.gates = Gates(settings, timings.cache_age)
        self._decisions = RequestDecisions(ledger, self.gates, settings.start_task.max_tasks_per_request)

    def __len__(self) -> int:
        return len(self._waiting)

    # ---- the thread that asks

    def work(self, tasks: Tasks) -> None:
        """Ask the server, job by job, until `stop`; runs in a thread of its own."""
        while (job := self._jobs.get()) is not None:
            try:
                answers: Answers | QlikError = tasks.find(job.selectors)
            except QlikError as error:
                answers = error
            self._emit(Resolved(job.number, job.asked_at, answers))

    def stop(self) -> None:
        """Let `work` end after the job in hand."""
        self._jobs.put(None)

    # ---- turns of the pipeline

    def add(self, requests: Iterable[OpenRequest]) -> None:
        """Accept requests, in order of arrival."""
        self._waiting.extend(requests)

    def forget(self, opened: OpenRequest) -> None:
        """Forget a request that waits."""
        self._waiting = deque(one for one in self._waiting if one is not opened)

    def refresh(self, task_id: str) -> None:
        """Have a task read after now; `turn` asks for it."""
        self._refreshes[Selector(SelectorKind.TASK_ID, task_id)] = None

    def resumed(self) -> None:
        """Restart the deadlines: the process stood still, and the server may long have recovered."""
        self._answered = time.monotonic()

    def reset(self) -> None:
        """Forget the requests; they are read again from the journal."""
        self._waiting.clear()
        self._refreshes.clear()
        self.stage_questions.reset()
        self._decided = []

    def dropped(self, event: Resolved) -> None:
        """Let the next question be asked although the answer to this one was dropped after a fault."""
        if self._job is not None and self._job.number == event.job:
            self.stage_questions.put_back(self._job.questions)
            self._job = None

    def reconfigured(self, settings: Settings) -> None:
        """Decide from now on with another allow-list, and other senders."""
        self.gates.reconfigured(settings)

    def resolved(self, event: Resolved) -> Mapping[str, Task | None]:
        """
        Apply what the server answered; `turn` decides with it.

        Returns:
            The tasks of `refresh` among it, by id; None: the server does not show it.
        """
        job = self._job
        if job is None or job.number != event.job:
            return {}
        self._job = None
        if isinstance(event.answers, QlikRefused):
            self._succeeded()
            refusals = dict.fromkeys(job.selectors, event.answers)
            self.stage_questions.answered(job.questions, refusals)
            self._decide(refusals, job)
            # The answer to their POST will name what the server refuses.
            return {one.value: None for one in job.refreshes}
        if isinstance(event.answers, QlikError):
            self._failed(job, event.answers)
            return {}
        self._succeeded()
        self._cache.store(event.answers, event.asked_at)
        self.stage_questions.answered(job.questions, event.answers)
        self._decide(event.answers, job)
        return {one.value: _only(event.answers.get(one)) for one in job.refreshes}

    def give_up(self) -> None:
        """Refuse the requests that are too late."""
        now, monotonic = now_ms(), time.monotonic()
        deadline = self._deadline
        unavailable = RequestError(
            "qrs_unavailable",
            "Qlik Sense cannot be reached",
            f"the Qlik Repository Service did not answer for {deadline:g} s "
            "(startTask.requestDeadlineSeconds); nothing was started, send the request again later",
        )
        if monotonic - self._answered >= deadline:
            self.stage_questions.give_up(monotonic - deadline, unavailable)
        late: list[OpenRequest] = []
        for opened in self._waiting:
            if opened.expires_at is not None and opened.expires_at <= now:
                error = RequestError(
                    "expired", "Request expired", "its tasks had not been found when its time was over"
                )
            elif monotonic - max(opened.entered, self._answered) >= deadline:
                error = unavailable
            else:
                continue
            self._ledger.requests.refused(opened, error)
            late.append(opened)
        if late:
            gone = {opened.id for opened in late}
            self._waiting = deque(opened for opened in self._waiting if opened.id not in gone)

    def turn(self, planned: int) -> list[OpenStart]:
        """
        Decide what can be decided and ask for the rest.

        Args:
            planned: Starts decided earlier that are not carried out yet.

        Returns:
            The starts decided in this turn.
        """
        decided = self._decided
        self._decided = []
        while self._waiting and planned + len(decided) < self._most_planned:
            answers = self._cache.get(self._waiting[0].request.selectors)
            if answers is None:
                break
            starts = self._decisions.record(self._waiting.popleft(), answers)
            for start in starts:
                start.found_before = True
            decided += starts
        full = planned + len(decided) >= self._most_planned
        if self._waiting and full:
            # It is not the server that they wait for.
            self._answered = time.monotonic()
        if self._refreshes or self.stage_questions or (self._waiting and not full):
            self._ask(with_requests=not full)
        return decided

    def ask_stages(self) -> None:
        """Ask at once what stages mean whose turn has come."""
        if self.stage_questions:
            self._ask(with_requests=False)

    def renew(self) -> None:
        """Ask again for answers in use that are old, while no request waits."""
        if self._cache.stale and not self._waiting:
            self._ask()

    # ---- helpers

    def _succeeded(self) -> None:
        self._backoff.succeeded()
        self._answered = time.monotonic()

    def _failed(self, job: _ResolveJob, error: QlikError) -> None:
        pause = self._backoff.failed()
        self._refreshes |= dict.fromkeys(job.refreshes)
        self.stage_questions.put_back(job.questions)
        if job.requests or job.refreshes or job.questions or self._waiting:
            _log.log(
                self._waiting_lines.level(str(error)),
                "%s requests wait for Qlik Sense: %s; next try in %.1f s",
                len(self._waiting) + len(job.questions),
                error,
                pause,
                extra={"action": "qrs_waiting"},
            )

    def _decide(self, answers: Answers, job: _ResolveJob) -> None:
        """Decide the requests of *job*, which are the first of those waiting."""
        while self._waiting and self._waiting[0].id in job.requests:
            self._decided += self._decisions.record(self._waiting.popleft(), answers)

    def _ask(self, *, with_requests: bool = True) -> None:
        if self._job is not None or self._backoff.paused:
            return
        now = time.monotonic()
        self._cache.drop_old()
        refreshes = list(itertools.islice(self._refreshes, MAX_SELECTORS))
        for selector in refreshes:
            del self._refreshes[selector]
        selectors: dict[Selector, None] = dict.fromkeys(refreshes)
        questions = self.stage_questions.take(MAX_SELECTORS - len(selectors)) if self.stage_questions else {}
        selectors.update(dict.fromkeys(selectors_of(questions)))
        requests = set()
        for opened in self._waiting if with_requests else ():
            asked = opened.request.selectors
            if selectors and len(selectors) + len(asked) > MAX_SELECTORS:
                break
            selectors.update(dict.fromkeys(asked))
            requests.add(opened.id)
        if not selectors:
            selectors.update(dict.fromkeys(self._cache.take_renewals()))
        # Only now: an answer in use is renewed even if it has just become too old.
        self._cache.drop_unused()
        self._job = _ResolveJob(
            next(self._numbers), list(selectors), frozenset(requests), tuple(refreshes), tuple(questions), now
        )
        # Reading may go on whatever becomes of this transaction.
        self._jobs.put(self._job)


def _only(answer: tuple[Task, ...] | QlikRefused | None) -> Task | None:
    """Return the task of an answer to a question for one id; None where the server shows none."""
    return answer[0] if isinstance(answer, tuple) and answer else None
