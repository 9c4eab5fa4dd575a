"""When a start is too late: its request's time is over, or the server has been unreachable for too long."""

from __future__ import annotations

import time

from butler_mqtt.domain.open_work import OpenStart, Run
from butler_mqtt.starting.conclusions import EXPIRED, NotStarted


class Deadlines:
    """
    Judges starts that have not begun.

    Args:
        seconds: `requestDeadlineSeconds`, counted from the server's last answer at the earliest.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answered_at = time.monotonic()

    def restart(self) -> None:
        """Count from now: the server answered, or the process stood still and it may have recovered."""
        self._answered_at = time.monotonic()

    @property
    def unreachable(self) -> bool:
        """Return whether the server has not answered within the deadline."""
        return self._is_over(0.0)

    def of_start(self, start: OpenStart, now: int) -> NotStarted | None:
        """Return why *start* is too late at *now* (milliseconds since 1970); None if it is not."""
        if start.expires_at is not None and start.expires_at <= now:
            return EXPIRED
        return self._unreachable() if self._is_over(start.entered) else None

    def of_run(self, run: Run) -> NotStarted | None:
        """Return why a run of which nothing was sent is too late for the server; None if it is not."""
        return self._unreachable() if self._is_over(run.since) else None

    def _is_over(self, since: float) -> bool:
        return time.monotonic() - max(since, self._answered_at) >= self._seconds

    def _unreachable(self) -> NotStarted:
        details = f"the Qlik Repository Service took no start for {self._seconds:g} s; nothing was started"
        return NotStarted("qrs_unavailable", details)
