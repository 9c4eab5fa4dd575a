"""Pauses between two tries while the Qlik server is unreachable."""

from __future__ import annotations

import time

from butler_mqtt.qrs.retry_pauses import pause_after


class Backoff:
    """
    Counts failures in a row; each makes the next pause longer.

    Args:
        longest: Longest pause, seconds.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._failures = 0
        self._until = 0.0

    @property
    def failing(self) -> bool:
        """Return whether the last try failed."""
        return self._failures > 0

    @property
    def paused(self) -> bool:
        """Return whether it is too early for the next try."""
        return time.monotonic() < self._until

    def failed(self, requested: float | None = None) -> float:
        """
        Count a failure and return the seconds until the next try.

        Args:
            requested: Seconds that the server asked for, in place of the growing pause.
        """
        if not self.paused:  # tries that fail together are one failure
            self._failures += 1
        pause = min(self._longest, pause_after(self._failures) if requested is None else requested)
        self._until = time.monotonic() + pause
        return pause

    def succeeded(self) -> None:
        """Begin with the shortest pause again."""
        self._failures = 0
        self._until = 0.0
