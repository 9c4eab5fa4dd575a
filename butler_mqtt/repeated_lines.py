"""How often a line about something that goes on is repeated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

#: Seconds between two lines at `info` for one cause.
PAUSE_SECONDS = 60.0
#: Causes with lines of their own within that time; they could differ each time.
MAX_CAUSES = 5
#: Seconds from which on an outage of a neighbour is one that an operator hears of, its end included.
LONG_OUTAGE_SECONDS = 60.0


def end_of_outage(seconds: float) -> int:
    """Return the level of the line that an outage of so many *seconds* is over: of a long one a warning."""
    return logging.WARNING if seconds >= LONG_OUTAGE_SECONDS else logging.INFO


class RepeatedLines:
    """
    Gives repeated lines their level: information once a minute for each cause, else debug.

    Args:
        monotonic: The clock, seconds.
        pause_seconds: Between two lines for one cause.
        most: Causes with lines of their own within that time.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        pause_seconds: float = PAUSE_SECONDS,
        most: int = MAX_CAUSES,
    ) -> None:
        self._monotonic = monotonic
        self._pause_seconds = pause_seconds
        self._most = most
        self._logged: dict[str, float] = {}

    def level(self, cause: str) -> int:
        """Return the level of a line about *cause*."""
        now = self._monotonic()
        self._logged = {known: at for known, at in self._logged.items() if now - at < self._pause_seconds}
        if cause in self._logged or len(self._logged) >= self._most:
            return logging.DEBUG
        self._logged[cause] = now
        return logging.INFO
