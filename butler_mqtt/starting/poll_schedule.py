"""When each execution is polled next."""

from __future__ import annotations

import heapq
import math
from itertools import count

from butler_mqtt.domain.open_work import Watch
from butler_mqtt.qlik_timings import QlikTimings

#: The pause grows to this share of the execution's age.
SHARE_OF_AGE = 0.1
#: Executions tracked at once beyond which nothing is put off: each takes memory, and its end is waited for.
MAX_PUT_OFF = 4000


class PollSchedule:
    """
    Orders executions by the time of their next poll; pauses grow with their age.

    Args:
        timings: The bounds of the pauses.
    """

    def __init__(self, timings: QlikTimings) -> None:
        self._timings = timings
        self._due: list[tuple[float, int, str]] = []
        self._sequence = count(1)
        self._last = 0.0

    def clear(self) -> None:
        """Forget all polls to come."""
        self._due.clear()

    def is_due(self, now: float, tracked: int, *, busy: bool) -> bool:
        """Return whether a poll is due while *tracked* executions are tracked; *busy*: seldom."""
        if not self._due or self._due[0][0] > now:
            return False
        return not busy or tracked > MAX_PUT_OFF or now >= self._last + self._timings.busy_poll

    def pop(self, now: float) -> tuple[str, int] | None:
        """Return the next execution that is due and the number of its poll; None if there is none."""
        if not self._due or self._due[0][0] > now:
            return None
        _, number, execution_id = heapq.heappop(self._due)
        return execution_id, number

    def submitted(self, now: float) -> None:
        """Note when executions were polled last."""
        self._last = now

    def add(self, watch: Watch, now: float, seconds: float | None = None) -> None:
        """Poll an execution in so many seconds; by default as its age says."""
        if seconds is None:
            seconds = self._pause(watch, now)
        watch.snapshot = next(self._sequence)
        # Pauses end at common moments, so that queries are few and full: short ones up to a quarter later,
        # long ones up to a quarter earlier.
        grid = 2.0 ** math.floor(math.log2(seconds / 4))
        moment = (now + seconds) / grid
        moment = grid * (math.floor(moment) if seconds >= 4 * self._timings.least_poll else math.ceil(moment))
        heapq.heappush(self._due, (moment, watch.snapshot, watch.execution_id))

    def _pause(self, watch: Watch, now: float) -> float:
        timings = self._timings
        most = timings.most_blocking_poll if watch.waited_for else timings.most_poll
        return min(most, max(timings.least_poll, SHARE_OF_AGE * (now - watch.since)))
