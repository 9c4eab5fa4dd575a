"""Notices that nothing was done for a while: the process, the machine or the journal stood still."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger("butler_mqtt.pipeline")


class Standstill:
    """
    Compares the times of checks.

    Args:
        seconds: Between two checks, from which on it is a standstill.
        resumed: Called after one: what restarts the deadlines, so that one attempt comes first.
    """

    def __init__(self, seconds: float, *resumed: Callable[[], None]) -> None:
        self._seconds = seconds
        self._resumed = resumed

    def check(self, before: float) -> None:
        """Compare now with the monotonic time of the last check, 0 for none."""
        since = time.monotonic() - before
        if not before or since <= self._seconds:
            return
        _log.warning(
            "nothing was done for %.0f s (the process or the machine was stopped, or the journal could not be"
            " written): deadlines for the Qlik server begin again",
            since,
            extra={"action": "resumed"},
        )
        for restart in self._resumed:
            restart()
