"""The threads that post starts: one POST for each job, and a look where its answer asks for one."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from butler_mqtt.clock import now_ms
from butler_mqtt.errors import QlikError
from butler_mqtt.events import Event, Posted
from butler_mqtt.model import EMPTY_GUID, Look, Task
from butler_mqtt.records import Run


class Starting(Protocol):
    """The side of the Qlik server that starts tasks."""

    def start(self, task: Task) -> str | None:
        """Post one start; raises QlikUnavailable, QlikRefused or OutcomeUnknown."""

    def look(self, task: Task) -> Look:
        """Read a task with its sessions and results; raises QlikUnavailable or QlikRefused."""


class Poster:
    """
    Posts runs, several at a time.

    Args:
        emit: Hands an outcome to the pipeline; called from the threads in `work`.
    """

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._jobs: SimpleQueue[tuple[int, Task, int | None] | None] = SimpleQueue()
        #: Runs given to the threads whose outcome is not on disk.
        self.in_hand: set[int] = set()
        self._abandoned = False

    def post(self, run: Run) -> None:
        """Have *run* posted, whose intent is on disk."""
        self.in_hand.add(run.id)
        times = [start.expires_at for start in run.starts if start.expires_at is not None]
        over_at = max(times) if len(times) == len(run.starts) else None
        self._jobs.put((run.id, run.task, over_at))

    def settled(self, run_id: int) -> None:
        """Take note that the outcome of a run is on disk."""
        self.in_hand.discard(run_id)

    def work(self, qlik: Starting) -> None:
        """Post, job by job, until `stop`; runs in several threads."""
        while (job := self._jobs.get()) is not None:
            if self._abandoned:
                continue
            run_id, task, over_at = job
            if over_at is not None and over_at <= now_ms():
                # A slow server kept those before it in the queue.
                self._emit(Posted(run_id, None, expired=True))
                continue
            look = None
            try:
                look = _disabled(qlik, task)
                answer: str | QlikError | None = EMPTY_GUID if look is not None else qlik.start(task)
                if answer == EMPTY_GUID and look is None:
                    look = _try_look(qlik, task)
            except QlikError as error:
                answer = error
            self._emit(Posted(run_id, answer, look))

    def abandon(self) -> None:
        """Post nothing more; what is queued stays an intent, which the next life of the daemon looks into."""
        self._abandoned = True

    def stop(self) -> None:
        """Let one thread in `work` end after the job in hand."""
        self._jobs.put(None)


def _disabled(qlik: Starting, task: Task) -> Look | None:
    """
    Give what the server shows of a disabled task of a kind without executions.

    Read from the journal, a task does not say whether it is enabled, and its
    asynchronous start answers 204 in any case.
    """
    if task.has_sessions or task.enabled is not None:
        return None
    look = qlik.look(task)
    return look if look.task is not None and look.task.enabled is False else None


def _try_look(qlik: Starting, task: Task) -> Look | None:
    try:
        return qlik.look(task)
    except QlikError:
        return None
