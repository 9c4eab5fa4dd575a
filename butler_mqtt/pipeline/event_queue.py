"""The events that wait for the next turn of the pipeline."""

from __future__ import annotations

from queue import Empty, SimpleQueue

from butler_mqtt import posix
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    Completion,
    PublicationConfirmed,
    PublisherReady,
    RuleAcknowledgementsRead,
)
from butler_mqtt.domain.model import Arrival

#: Taken into one transaction at most.
MAX_EVENTS = 500
#: Seconds for which confirmations of the broker wait for something else to be written with them.
LINGER_SECONDS = 0.01

#: What nobody waits for, unless there is something to publish.
_UNHURRIED = (AcknowledgementsRead, PublicationConfirmed, PublisherReady, RuleAcknowledgementsRead)


class EventQueue:
    """A queue from which each turn takes all it may."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Arrival | Completion | None] = SimpleQueue()
        self._waited_for = False

    def put(self, happened: Arrival | Completion) -> None:
        """Add an event, from any thread; never blocks and never fails."""
        # What else a thread that brings a request has to do is less urgent than the request; a thread that
        # brings the outcome of a POST has the next one to send.
        gives_way = self._waited_for and isinstance(happened, Arrival)
        self._queue.put(happened)
        if gives_way:
            posix.give_way()

    def wake(self) -> None:
        """End the wait of `take` without an event."""
        self._queue.put(None)

    def take(self, timeout: float, *, linger: bool) -> list[Arrival | Completion]:
        """
        Wait at most *timeout* seconds for an event, and return all there are, `MAX_EVENTS` at most.

        With *linger*, confirmations alone wait a moment for other events:
        each turn is a commit, and an urgent event would have to wait for it.
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
