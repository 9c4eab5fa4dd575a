"""How often each caller may send a request."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

#: Requests of one caller per second in the long run, and at once after a pause. Far above what a sender
#: needs (a morning's backlog of 10,000 passes in 6 s): it stops one that runs wild.
RATE = 1000.0
BURST = 4000.0
#: Callers remembered.
MAX_CALLERS = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """
    A token bucket for each caller.

    Args:
        rate: Requests per second in the long run.
        burst: Requests at once after a pause.
        max_callers: Callers remembered; the one not seen for longest is forgotten first.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        rate: float = RATE,
        burst: float = BURST,
        *,
        max_callers: int = MAX_CALLERS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_callers = max_callers
        self._rate = rate
        self._burst = burst
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Count one request of *caller*; return the seconds until the next is allowed, 0 when this one is."""
        seconds = self.ahead(caller)
        if not seconds:
            self._buckets[caller].tokens -= 1
        return seconds

    def ahead(self, caller: str) -> float:
        """Return what `wait` would, without counting anything."""
        now = self._monotonic()
        bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._max_callers:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.tokens >= 1:
            return 0.0
        return (1 - bucket.tokens) / self._rate
