"""Requests held back on a new connection until the retained status shows whose they are."""

from __future__ import annotations

import time
from collections.abc import Callable

from butler_mqtt.domain.model import Message

#: How long a reconnected daemon waits for the retained status before it publishes its own.
RETAINED_STATUS_SECONDS = 1.0


class StatusWait:
    """
    Waits for the retained message on `statusTopic` and keeps the requests of that time.

    If it shows that another daemon has taken our client id over, they are that
    one's and may not be acknowledged. For the network thread.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: float | None = None
        self._held: list[Message] = []

    @property
    def going_on(self) -> bool:
        """Whether the status is awaited."""
        return self._until is not None

    @property
    def overdue(self) -> bool:
        """Whether it is awaited and its time is over."""
        return self._until is not None and self._clock() > self._until

    def begin(self) -> None:
        """Wait from now on."""
        self._until = self._clock() + RETAINED_STATUS_SECONDS

    def hurry(self) -> None:
        """Be overdue at once, if it is awaited: nothing will come."""
        if self._until is not None:
            self._until = float("-inf")

    def hold(self, message: Message) -> None:
        """Keep a request, behind those before it."""
        self._held.append(message)

    def end(self) -> list[Message]:
        """Wait no longer, and return what was kept, in order of arrival."""
        held, self._held = self._held, []
        self._until = None
        return held
