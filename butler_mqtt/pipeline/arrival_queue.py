"""Arrivals that are not recorded yet because there is no room for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from butler_mqtt.domain.completions import SessionBegan
from butler_mqtt.domain.model import Arrival


class ArrivalQueue:
    """
    The arrivals that wait for room, oldest first.

    A turn that fails is repeated, so its changes count from `commit` on.

    Args:
        has_room: Whether there is room for one more request besides so many.
    """

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self._has_room = has_room
        self._committed: deque[Arrival] = deque()
        self._held: deque[Arrival] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def begin(self) -> None:
        """Begin a turn with what was held at the last commit."""
        self._held = deque(self._committed)

    def commit(self) -> None:
        """Keep the changes of this turn."""
        self._committed = self._held

    def release(self) -> list[Arrival]:
        """Take out the oldest for which there is room."""
        released: list[Arrival] = []
        while self._held and self._has_room(len(released)):
            released.append(self._held.popleft())
        return released

    def holds(self, arrival: Arrival, coming: int) -> bool:
        """Hold *arrival* if others are held or there is no room besides *coming* others; False: record it."""
        if not self._held and self._has_room(coming):
            return False
        self._held.append(arrival)
        return True

    def session_began(self, event: SessionBegan) -> None:
        """Forget messages of earlier connections that the broker delivers again: none is acknowledged yet."""
        if not event.present:
            return  # it has forgotten them, and nobody brings them again
        self._held = deque(
            arrival
            for arrival in self._held
            if arrival.message is None or arrival.message.generation == event.generation
        )
