"""How long to wait before the next attempt to reach the broker."""

from __future__ import annotations

import secrets

#: The longest wait between two attempts, in seconds.
MAX_BACKOFF_SECONDS = 60.0
#: A connection that lasted this long ends the series of failures that the waits grow with.
STABLE_SECONDS = 5.0

_random = secrets.SystemRandom()


class ReconnectPauses:
    """
    Soon at first, then exponential with full jitter.

    Args:
        longest: The longest wait, in seconds.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._failures = 0

    def next(self, lasted: float | None, *, refused: bool) -> float:
        """
        Return the seconds to wait.

        Args:
            lasted: Seconds for which the connection that ended was accepted; None when it never was.
            refused: The broker or TLS said no.
        """
        if lasted is not None and lasted >= STABLE_SECONDS and not refused:
            self._failures = 0
        ceiling = min(2.0**self._failures, self._longest)
        self._failures = min(self._failures + 1, 10)
        return _random.uniform(0.2, ceiling)
