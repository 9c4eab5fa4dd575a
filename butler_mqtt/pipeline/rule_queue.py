"""Messages for rules that wait to be judged: start requests go before them."""

from __future__ import annotations

from collections import deque

from butler_mqtt.domain.completions import RuleSessionBegan
from butler_mqtt.domain.model import Arrival


class RuleQueue:
    """
    Waiting messages, oldest first; not more than the broker sends without a PUBACK.

    A turn that fails is repeated, so its changes count from `commit` on.
    """

    def __init__(self) -> None:
        self._committed: deque[Arrival] = deque()
        self._new: deque[Arrival] = deque()
        self._taken = 0

    def __len__(self) -> int:
        return len(self._committed) + len(self._new) - self._taken

    def begin(self) -> None:
        """Begin a turn with what waited at the last commit."""
        self._new.clear()
        self._taken = 0

    def add(self, arrival: Arrival) -> None:
        """Have *arrival* wait."""
        self._new.append(arrival)

    def take(self) -> Arrival:
        """Return the oldest that is not taken in this turn; raises IndexError when none is left."""
        place = self._taken
        known = len(self._committed)
        arrival = self._committed[place] if place < known else self._new[place - known]
        self._taken += 1
        return arrival

    def session_began(self, event: RuleSessionBegan) -> None:
        """Forget messages of earlier connections that the broker delivers again; before any is taken."""
        if not event.present:
            return  # it has forgotten them, and nobody brings them again
        for waiting in (self._committed, self._new):
            kept = [
                one for one in waiting if one.message is None or one.message.generation == event.generation
            ]
            waiting.clear()
            waiting.extend(kept)

    def commit(self) -> None:
        """Keep the changes of this turn."""
        self._committed.extend(self._new)
        self._new.clear()
        for _ in range(self._taken):
            self._committed.popleft()
        self._taken = 0
