"""Keeps requests at the broker while the disk of the journal is nearly full."""

from __future__ import annotations

import logging
import time

from butler_mqtt.journal.sqlite import Journal

#: Free bytes below which requests are left at the broker: room to finish what is open.
LOW_DISK_BYTES = 32 * 1024 * 1024
#: Free bytes below which `check` and the page say that there is little.
LITTLE_DISK_BYTES = 1024 * 1024 * 1024

_log = logging.getLogger("butler_mqtt.pipeline")


class DiskGuard:
    """
    Checks the free space of the journal's disk.

    Args:
        journal: Its disk is watched.
        seconds: Between two checks.
    """

    def __init__(self, journal: Journal, seconds: float) -> None:
        self._journal = journal
        self._seconds = seconds
        self._checked = 0.0
        #: Whether there was room at the last check.
        self.has_room = True

    @property
    def obstacle(self) -> str | None:
        """Return why requests are not accepted, None while there is room."""
        if self.has_room:
            return None
        return f"the disk of the journal {self._journal.path} is nearly full: nothing is acknowledged"

    def check(self) -> None:
        """Read the free space if the last check is long enough ago; log a change."""
        now = time.monotonic()
        if now - self._checked < self._seconds:
            return
        self._checked = now
        had_room, self.has_room = self.has_room, self._journal.free_bytes() >= LOW_DISK_BYTES
        if had_room and not self.has_room:
            _log.error(
                "%s; free some space, the broker keeps what arrives until then",
                self.obstacle,
                extra={"action": "disk_low"},
            )
        elif self.has_room and not had_room:
            _log.warning("the disk of the journal has room again", extra={"action": "disk_low"})
