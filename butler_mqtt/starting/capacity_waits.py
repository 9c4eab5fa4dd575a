"""Starts that wait because as many executions run as may: what is recorded of them, and their places."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.starting.task_queues import TaskQueues

#: Seconds between two counts of places, and how many times as long as one takes at least: in a queue of a
#: hundred thousand it takes a tenth of a second.
PLACES_SECONDS = 0.5
PLACES_SHARE = 20


class CapacityWaits:
    """
    Records that the starts in the queues wait for the end of another execution, each once.

    Args:
        ledger: Where that is recorded.
        queues: What they wait in.
    """

    def __init__(self, ledger: Ledger, queues: TaskQueues) -> None:
        self._ledger = ledger
        self._queues = queues
        #: Starts in the queues that waited for their stage or their time before.
        self._waited_before: set[OpenStart] = set()
        #: By the ids of starts, as they were lately; for any thread. Starts that wait no more may be there.
        self.places: Mapping[int, int] = {}
        self._places_at = 0.0

    def __len__(self) -> int:
        return len(self._waited_before)

    def clear(self) -> None:
        """Forget all starts."""
        self._waited_before.clear()
        self.places = {}

    def entered(self, start: OpenStart) -> None:
        """Note a start that was put into a queue."""
        if start.state is StartState.WAITING:
            self._waited_before.add(start)

    def left(self, starts: Iterable[OpenStart]) -> None:
        """Note starts that are in no queue any more."""
        self._waited_before.difference_update(starts)

    def record(self) -> None:
        """Record that all in the queues wait."""
        now = time.monotonic()
        if now >= self._places_at:
            self.places = {start.id: place for place, start in self._queues.places()}
            self._places_at = now + max(PLACES_SECONDS, PLACES_SHARE * (time.monotonic() - now))
        if not (self._queues.fresh or self._waited_before):
            return
        for place, start in self._queues.places():
            if start.state is StartState.WAITING and start not in self._waited_before:
                continue
            if not (start.unread or start.found_before):
                start.first_read = start.task
            # What ends meanwhile began before the POST to come: no baseline for it without another reading.
            start.unread = True
            if start.reason != "capacity":
                start.place = place
                self._ledger.starts.waits(start, "capacity")
        self._queues.all_recorded()
        self._waited_before.clear()
