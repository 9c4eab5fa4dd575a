"""The threads that post starts: one POST for each job, and a snapshot where its answer asks for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Completion, Posted
from butler_mqtt.domain.model import EMPTY_GUID, Task, TaskSnapshot
from butler_mqtt.domain.open_work import Run
from butler_mqtt.errors import QlikError
from butler_mqtt.starting import stop_calls
from butler_mqtt.starting.app_sessions import AppReader, with_app
from butler_mqtt.starting.stop_calls import TaskStopper


class TaskStarter(AppReader, TaskStopper, Protocol):
    """The side of the Qlik server that starts tasks."""

    def start(self, task: Task) -> str | None:
        """Post one start; raises QlikUnavailable, QlikRefused or OutcomeUnknown."""

    def snapshot(self, task: Task) -> TaskSnapshot:
        """Read a task with its sessions and results; raises QlikUnavailable or QlikRefused."""


@dataclass(frozen=True, slots=True)
class _StopJob:
    """An execution of a task that is to be stopped."""

    task: Task
    execution_id: str


@dataclass(slots=True)
class _PostJob:
    """One POST; `over_at` is when the time of all its starts is over."""

    run: int
    task: Task
    over_at: int | None


_Job = _PostJob | _StopJob


class PostWorkers:
    """
    Posts runs, several at a time.

    Args:
        emit: Submits an outcome to the pipeline; called from the threads in `work`.
    """

    def __init__(self, emit: Callable[[Completion], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        #: Jobs that wait for a thread, or threads that wait for a job.
        self._jobs: deque[_Job | None] = deque()
        self._idle: list[SimpleQueue[_Job | None]] = []
        #: Runs submitted to the threads whose outcome is not on disk.
        self.in_hand: set[int] = set()
        self._abandoned = False

    @property
    def idle(self) -> int:
        """Count the threads that wait for a job."""
        return len(self._idle)

    def post(self, run: Run) -> None:
        """Have *run* posted, whose intent is on disk."""
        self.in_hand.add(run.id)
        times = [start.expires_at for start in run.starts if start.expires_at is not None]
        over_at = max(times) if len(times) == len(run.starts) else None
        self._submit(_PostJob(run.id, run.task, over_at))

    def withdraw(self, run_id: int) -> bool:
        """Take a run back that waits for a thread; False if one has begun to post it."""
        with self._lock:
            waiting = [job for job in self._jobs if isinstance(job, _PostJob) and job.run == run_id]
            for job in waiting:
                self._jobs.remove(job)
        if waiting:
            self.in_hand.discard(run_id)
        return bool(waiting)

    def ask_stop(self, task: Task, execution_id: str) -> None:
        """Have an execution of *task* stopped; what came of it is submitted as `StopAsked`."""
        self._submit(_StopJob(task, execution_id))

    def recorded(self, run_id: int) -> None:
        """Forget a run whose outcome is on disk."""
        self.in_hand.discard(run_id)

    def work(self, qlik: TaskStarter) -> None:
        """Post, job by job, until `stop`; runs in several threads."""
        jobs: SimpleQueue[_Job | None] = SimpleQueue()
        while (job := self._next(jobs)) is not None:
            if self._abandoned:
                continue
            if isinstance(job, _StopJob):
                self._emit(stop_calls.ask(qlik, job.task, job.execution_id))
            else:
                self._emit(_outcome(qlik, job))

    def abandon(self) -> None:
        """Post nothing more; what is queued stays an intent, which is reconciled after the next start."""
        self._abandoned = True

    def stop(self) -> None:
        """Let one thread in `work` end after the job in hand."""
        self._submit(None)

    def _submit(self, job: _Job | None) -> None:
        with self._lock:
            if not self._idle:
                self._jobs.append(job)
                return
            # The one that was idle last: the server has most likely kept its connection.
            jobs = self._idle.pop()
        jobs.put(job)

    def _next(self, jobs: SimpleQueue[_Job | None]) -> _Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._idle.append(jobs)
        return jobs.get()


def _outcome(qlik: TaskStarter, job: _PostJob) -> Posted:
    if job.over_at is not None and job.over_at <= now_ms():
        # A slow server delayed the queue.
        return Posted(job.run, None, expired=True)
    snapshot = None
    try:
        snapshot = _disabled(qlik, job.task)
        answer: str | QlikError | None = EMPTY_GUID if snapshot is not None else qlik.start(job.task)
        if answer == EMPTY_GUID and snapshot is None:
            snapshot = _try_snapshot(qlik, job.task)
    except QlikError as error:
        answer = error
    return Posted(job.run, answer, snapshot)


def _disabled(qlik: TaskStarter, task: Task) -> TaskSnapshot | None:
    """
    Return what the server shows of a disabled task of a kind without executions.

    It is not known of a task read from the journal whether it is enabled, and the
    asynchronous start of one is answered with 204 in any case.
    """
    if task.has_sessions or task.enabled:
        return None
    snapshot = qlik.snapshot(task)
    return snapshot if snapshot.task is not None and snapshot.task.enabled is False else None


def _try_snapshot(qlik: TaskStarter, task: Task) -> TaskSnapshot | None:
    try:
        return with_app(qlik, qlik.snapshot(task))
    except QlikError:
        return None
