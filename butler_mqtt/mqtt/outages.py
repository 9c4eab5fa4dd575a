"""How loudly a broker that cannot be reached is logged: a warning once, whoever tries how often."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

#: Reasons of one outage that are worth a line of their own; they could differ each time.
MAX_REASONS = 5


class Outages:
    """
    What the connections of one process know together of their broker; thread-safe.

    Args:
        monotonic: The clock, seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: float | None = None
        self._reasons: set[str] = set()

    def unreachable(self, reason: str) -> int:
        """
        Note an attempt that failed, and return the level of its line.

        A warning at the first of an outage, information where there is another
        reason than before, else debug.
        """
        with self._lock:
            if self._since is None:
                self._since, self._reasons = self._monotonic(), {reason}
                return logging.WARNING
            if reason in self._reasons or len(self._reasons) >= MAX_REASONS:
                return logging.DEBUG
            self._reasons.add(reason)
            return logging.INFO

    def reached(self) -> float | None:
        """Note that the broker accepted a connection; return how long none did, seconds, once an outage."""
        with self._lock:
            since, self._since = self._since, None
            return None if since is None else self._monotonic() - since
