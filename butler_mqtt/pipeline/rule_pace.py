"""How much of the time messages for rules may take beside requests."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds of one turn for which messages are judged, and while requests come or are started.
SLICE_SECONDS = 0.02
BUSY_SLICE_SECONDS = 0.001
#: How much of the time all turns may take for it while requests come, and while they come densely.
BUSY_SHARE = 0.05
PRESSED_SHARE = 0.01
#: Seconds between two slices at most, whatever the last one cost.
LONGEST_WAIT_SECONDS = 1.0
#: Seconds after the last of a request for which more of them are expected, and for which they come densely.
BUSY_SECONDS = 0.25
PRESSED_SECONDS = 0.02


class RulePace:
    """
    Tells when messages may be judged, and for how long.

    Their cost is not the judging alone: what is judged is recorded and acknowledged, and
    the broker sends as many again. So a share of the time that is judged costs about three.

    Args:
        monotonic: The clock, seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._request_at = float("-inf")
        #: When the last slice ended, and how long it was.
        self._ended = float("-inf")
        self._spent = 0.0

    def request_came(self) -> None:
        """Note that requests arrived, or that the outcome of one came back from the Qlik server."""
        self._request_at = self._monotonic()

    def waits(self) -> float:
        """Return in how many seconds messages may be judged, 0 for now."""
        now = self._monotonic()
        since = now - self._request_at
        if since >= BUSY_SECONDS:
            return 0.0
        return max(0.0, self._due(PRESSED_SHARE if since < PRESSED_SECONDS else BUSY_SHARE) - now)

    def next_turn(self) -> float:
        """Return in how many seconds messages may be judged if nothing more of a request comes."""
        waits = self.waits()
        if not waits:
            return 0.0
        calm = max(self._request_at + PRESSED_SECONDS, self._due(BUSY_SHARE))
        return min(waits, max(0.0, min(calm, self._request_at + BUSY_SECONDS) - self._monotonic()))

    def judge(self, step: Callable[[], bool]) -> None:
        """Call *step*, which judges one message and returns whether there is another, for a slice of time."""
        began = self._monotonic()
        busy = began - self._request_at < BUSY_SECONDS
        until = began + (BUSY_SLICE_SECONDS if busy else SLICE_SECONDS)
        while step() and self._monotonic() < until:
            pass
        self._ended = self._monotonic()
        self._spent = self._ended - began

    def _due(self, share: float) -> float:
        """Return until when the last slice forbids another, by the clock."""
        return self._ended + min(self._spent * (1 / share - 1), LONGEST_WAIT_SECONDS)
