"""
Log lines about calls that were refused for who makes them.

Whoever reaches a listener can send thousands a second, without a token. A line for
each would fill the disk, and journald would leave out other lines of the service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from butler_mqtt.repeated_lines import PAUSE_SECONDS, RepeatedLines

#: Causes, of whatever addresses, with lines of their own within a minute.
MOST = 20

_log = logging.getLogger("butler_mqtt.http")


class RefusedCalls:
    """
    Warns once a minute for each cause, and says how many calls it was silent about.

    Args:
        monotonic: The clock, seconds.
        most: Causes with lines of their own within a minute.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, *, most: int = MOST) -> None:
        self._lines = RepeatedLines(monotonic, pause_seconds=PAUSE_SECONDS, most=most)
        self._silent = 0

    def unauthorized(self, what: str) -> None:
        """Log that *what*, by a caller nobody knows, was refused."""
        shown, more = self._judged(what)
        _log.log(
            logging.WARNING if shown else logging.DEBUG,
            "%s%s",
            what,
            more,
            extra={"action": "rest_unauthorized"},
        )

    def forbidden(self, what: str) -> None:
        """Log that *what*, which a foreign page may have sent, was refused."""
        shown, more = self._judged(what)
        _log.log(
            logging.WARNING if shown else logging.DEBUG,
            "%s%s",
            what,
            more,
            extra={"action": "rest_forbidden"},
        )

    def _judged(self, what: str) -> tuple[bool, str]:
        """Return whether the line is shown, and what is to be added to it."""
        if self._lines.level(what) == logging.DEBUG:
            self._silent += 1
            return False, ""
        silent, self._silent = self._silent, 0
        return True, f"; {silent} more were refused without a line" if silent else ""
