"""
From requests to their tasks: what waits to be found shares one query.

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
from butler_mqtt.domain import decisions
from butler_mqtt.domain.completions import Answers, Completion, Resolved
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.errors import QlikError, QlikRefused, RequestError
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.qrs.pauses import pause_after
from butler_mqtt.settings import Settings

#: Seconds for which an answer that names tasks may be used again (design G7); one that names none never is.
CACHE_SECONDS = 5.0
#: Age at which an answer that is used is asked for anew beside that, so that the next request need not wait.
RENEWED_SECONDS = 4.0
#: Selectors asked for anew at once: one query.
MAX_RENEWED = 100
#: Starts decided and not yet carried out, above which requests wait to be decided.
MAX_PLANNED = 1000
#: Selectors asked for at once.
MAX_SELECTORS = 400
#: Longest pause between two tries while the server does not answer, in seconds.
MAX_PAUSE_SECONDS = 10.0

_log = logging.getLogger("butler_mqtt.finder")


class Tasks(Protocol):
    """The side of the Qlik server that finds tasks."""

    def find(self, selectors: list[Selector]) -> Answers:
        """Give the tasks of each selector; raises QlikUnavailable or QlikRefused."""


@dataclass(frozen=True, slots=True)
class _ResolveJob:
    number: int
    selectors: list[Selector]
    requests: frozenset[int]
    wanted: tuple[Selector, ...]
    asked_at: float


class Resolver:
    """
    Holds the requests whose tasks are not known and asks the server for them.

    Args:
        settings: The allow-list and limits.
        ledger: Where decisions are recorded.
        emit: Hands an event to the pipeline; called from the finder's thread.
    """

    def __init__(self, settings: Settings, ledger: Ledger, emit: Callable[[Completion], None]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._emit = emit
        #: Tasks to be read whatever the cache has.
        self._wanted: dict[Selector, None] = {}
        self._waiting: deque[OpenRequest] = deque()
        self._cache: dict[Selector, tuple[tuple[Task, ...], float]] = {}
        #: Answers used again since they came, and whether one of them grows old.
        self._used: dict[Selector, None] = {}
        self._growing_old = False
        self._jobs: SimpleQueue[_ResolveJob | None] = SimpleQueue()
        self._job: _ResolveJob | None = None
        self._numbers = itertools.count()
        self._failures = 0
        self._retry_at = 0.0
        self._answered = time.monotonic()
        self._decided: list[OpenStart] = []

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
        """Take requests in, in order of arrival."""
        self._waiting.extend(requests)

    def want(self, task_id: str) -> None:
        """Have a task read after now; `turn` asks for it."""
        self._wanted[Selector(SelectorKind.TASK_ID, task_id)] = None

    def resumed(self) -> None:
        """Begin the deadlines anew: the process stood still, and the server may long be back."""
        self._answered = time.monotonic()

    def reset(self) -> None:
        """Forget the requests; they are read again from the journal."""
        self._waiting.clear()
        self._wanted.clear()
        self._decided = []

    def reconfigured(self, settings: Settings) -> None:
        """Decide from now on with another allow-list."""
        self._settings = settings

    def found(self, event: Resolved) -> Mapping[str, Task | None]:
        """
        Take in what the server answered; `turn` decides with it.

        Returns:
            The tasks among it that were wanted, by id; None: the server does not show it.
        """
        job = self._job
        if job is None or job.number != event.job:
            return {}
        self._job = None
        if isinstance(event.answers, QlikRefused):
            self._succeeded()
            refusal = event.answers
            self._decide(dict.fromkeys(job.selectors, refusal), job)
            # Their start will tell what the server refuses.
            return {one.value: None for one in job.wanted}
        if isinstance(event.answers, QlikError):
            self._failures += 1
            pause = min(MAX_PAUSE_SECONDS, pause_after(self._failures))
            self._retry_at = time.monotonic() + pause
            self._wanted |= dict.fromkeys(job.wanted)
            if job.requests or job.wanted or self._waiting:
                _log.info(
                    "%s requests wait for Qlik Sense: %s; next try in %.1f s",
                    len(self._waiting),
                    event.answers,
                    pause,
                    extra={"action": "qrs_waiting"},
                )
            return {}
        self._succeeded()
        for selector, answer in event.answers.items():
            if isinstance(answer, tuple) and answer:
                self._cache[selector] = (answer, event.asked_at)
            else:
                self._cache.pop(selector, None)
            self._used.pop(selector, None)
        # Used meanwhile, which is no reason to ask for them once more.
        self._growing_old = any(self._grows_old(selector) for selector in self._used)
        self._decide(event.answers, job)
        return {one.value: _only(event.answers.get(one)) for one in job.wanted}

    def give_up(self) -> None:
        """Refuse the requests that are too late."""
        now, monotonic = now_ms(), time.monotonic()
        deadline = self._settings.start_task.request_deadline_seconds
        late: list[OpenRequest] = []
        for opened in self._waiting:
            if opened.expires_at is not None and opened.expires_at <= now:
                error = RequestError(
                    "expired", "Request expired", "its tasks had not been found when its time was over"
                )
            elif monotonic - max(opened.entered, self._answered) >= deadline:
                error = RequestError(
                    "qrs_unavailable",
                    "Qlik Sense cannot be reached",
                    f"the Qlik Repository Service did not answer for {deadline:g} s "
                    "(startTask.requestDeadlineSeconds); nothing was started, send the request again later",
                )
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
        while self._waiting and planned + len(decided) < MAX_PLANNED:
            answers = self._cached(self._waiting[0])
            if answers is None:
                break
            starts = self._decide_one(self._waiting.popleft(), answers)
            for start in starts:
                start.found_before = True
            decided += starts
        full = planned + len(decided) >= MAX_PLANNED
        if self._waiting and full:
            # Not the server keeps them waiting.
            self._answered = time.monotonic()
        if self._wanted or (self._waiting and not full):
            self._ask(with_requests=not full)
        return decided

    def renew(self) -> None:
        """Ask anew for what is in use and grows old, while nobody waits."""
        if self._growing_old and not self._waiting:
            self._ask()

    # ---- helpers

    def _succeeded(self) -> None:
        self._failures = 0
        self._retry_at = 0.0
        self._answered = time.monotonic()

    def _decide(self, answers: Answers, job: _ResolveJob) -> None:
        """Decide the requests of *job*, which stand at the head of those waiting."""
        while self._waiting and self._waiting[0].id in job.requests:
            opened = self._waiting.popleft()
            known = {selector: answers[selector] for selector in opened.request.selectors}
            self._decided += self._decide_one(opened, known)

    def _decide_one(self, opened: OpenRequest, answers: Answers) -> list[OpenStart]:
        try:
            decision = decisions.decide(
                opened.request,
                _without_refusals(answers),
                allow=self._settings.start_task_filter,
                max_tasks=self._settings.start_task.max_tasks_per_request,
            )
        except RequestError as error:
            self._ledger.requests.refused(opened, error)
            return []
        return self._ledger.requests.decided(opened, decision)

    def _cached(self, opened: OpenRequest) -> Mapping[Selector, tuple[Task, ...]] | None:
        oldest = time.monotonic() - CACHE_SECONDS
        answers = {}
        for selector in opened.request.selectors:
            entry = self._cache.get(selector)
            if entry is None or entry[1] < oldest:
                return None
            answers[selector] = entry[0]
            self._used[selector] = None
            self._growing_old |= entry[1] < oldest + CACHE_SECONDS - RENEWED_SECONDS
        return answers

    def _grows_old(self, selector: Selector) -> bool:
        entry = self._cache.get(selector)
        return entry is not None and RENEWED_SECONDS < time.monotonic() - entry[1] <= CACHE_SECONDS

    def _ask(self, *, with_requests: bool = True) -> None:
        now = time.monotonic()
        if self._job is not None or now < self._retry_at:
            return
        self._cache = {
            selector: entry for selector, entry in self._cache.items() if entry[1] >= now - CACHE_SECONDS
        }
        read_anew = list(itertools.islice(self._wanted, MAX_SELECTORS))
        for selector in read_anew:
            del self._wanted[selector]
        wanted: dict[Selector, None] = dict.fromkeys(read_anew)
        requests = set()
        for opened in self._waiting if with_requests else ():
            selectors = opened.request.selectors
            if wanted and len(wanted) + len(selectors) > MAX_SELECTORS:
                break
            wanted.update(dict.fromkeys(selectors))
            requests.add(opened.id)
        if not wanted and self._growing_old:
            wanted.update(itertools.islice(self._used.items(), MAX_RENEWED))
            self._used.clear()
            self._growing_old = False
        # Only now: what was used is asked for anew also when it has grown too old meanwhile.
        self._used = {selector: None for selector in self._used if selector in self._cache}
        self._job = _ResolveJob(next(self._numbers), list(wanted), frozenset(requests), tuple(read_anew), now)
        # Reading may go on whatever becomes of this transaction.
        self._jobs.put(self._job)


def _only(answer: tuple[Task, ...] | QlikRefused | None) -> Task | None:
    """Give the task of an answer to a question for one id; None where the server shows none."""
    return answer[0] if isinstance(answer, tuple) and answer else None


def _without_refusals(answers: Answers) -> Mapping[Selector, tuple[Task, ...]]:
    tasks: dict[Selector, tuple[Task, ...]] = {}
    for selector, answer in answers.items():
        if isinstance(answer, QlikRefused):
            raise refused_by_qlik(answer)
        tasks[selector] = answer
    return tasks


def refused_by_qlik(error: QlikRefused) -> RequestError:
    """Say with one of the reply codes what the server refused."""
    if error.status in {401, 403}:
        return RequestError("qrs_forbidden", "Qlik Sense refused access", str(error))
    return RequestError("qrs_rejected", "Qlik Sense rejected the request", str(error))
