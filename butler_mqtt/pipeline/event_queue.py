"""What was handed in to the pipeline and waits for its next turn."""

from __future__ import annotations

from queue import Empty, SimpleQueue

from butler_mqtt import posix
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    Completion,
    PublicationConfirmed,
    PublisherReady,
)
from butler_mqtt.domain.model import Arrival

#: Taken into one transaction at most.
MAX_EVENTS = 500
#: Seconds for which confirmations of the broker wait for something else to be written with them.
LINGER_SECONDS = 0.01

#: What nobody waits for, unless there is something to publish.
_UNHURRIED = (AcknowledgementsRead, PublicationConfirmed, PublisherReady)


class EventQueue:
    """A queue that is emptied a turn's worth at a time."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Arrival | Completion | None] = SimpleQueue()
        self._waited_for = False

    def put(self, happened: Arrival | Completion) -> None:
        """Hand something in, from any thread; never blocks and never fails."""
        # What the thread that brings a request has left to do is less urgent than the request; a thread that
        # brings the outcome of a POST has the next one to post.
        gives_way = self._waited_for and isinstance(happened, Arrival)
        self._queue.put(happened)
        if gives_way:
            posix.give_way()

    def wake(self) -> None:
        """End the waiting of `take` without handing anything in."""
        self._queue.put(None)

    def take(self, timeout: float, *, linger: bool) -> list[Arrival | Completion]:
        """
        Wait at most *timeout* seconds for something, and take all that is there.

        With *linger*, confirmations alone wait a moment longer for company:
        each turn is a commit, and another may be waited for meanwhile.
        """
        taken = self._take(timeout)
        if linger and taken and all(isinstance(one, _UNHURRIED) for one in taken):
            taken += self._take(LINGER_SECONDS)
        return taken

    def _take(self, timeout: float) -> list[Arrival | Completion]:
        taken: list[Arrival | Completion] = []
        self._waited_for = True
        try:
            first = self._queue.get(timeout=timeout)
        except Empty:
            return taken
        finally:
            self._waited_for = False
        while True:
            if first is not None:
                taken.append(first)
            if len(taken) >= MAX_EVENTS or self._queue.empty():
                return taken
            first = self._queue.get_nowait()
