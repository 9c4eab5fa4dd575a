"""HTTP callers who wait for a reply; the journal does not know them, and no reading of it forgets them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection


class Callers:
    """
    Keeps who waits for the reply to a delivery.

    Args:
        wait_seconds: After which nobody waits any more.
        monotonic: The clock, seconds.
    """

    def __init__(self, wait_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        #: By delivery, in order of arrival, with when each came.
        self._waiting: dict[int, tuple[float, Callable[[str], None]]] = {}

    @property
    def deliveries(self) -> Collection[int]:
        """Return the deliveries for whose reply somebody waits."""
        return self._waiting.keys()

    def add(self, delivery: int, on_reply: Callable[[str], None]) -> None:
        """Have *on_reply* called with the reply to *delivery*, which is on disk."""
        now = self._monotonic()
        while self._waiting:
            oldest = next(iter(self._waiting))
            if now - self._waiting[oldest][0] <= self._wait_seconds:
                break
            del self._waiting[oldest]
        self._waiting[delivery] = (now, on_reply)

    def answer(self, delivery: int, answer: str) -> None:
        """Pass the reply to *delivery*, which is on disk, to who waits for it, if anybody does."""
        waiting = self._waiting.pop(delivery, None)
        if waiting is not None:
            waiting[1](answer)
