"""
The machine's clock without its jumps.

The clock of a machine can jump: a wrong NTP server, no battery, a hand. By it old
rows are deleted and late requests are refused, so that a jump must not be trusted
at once. `SteadyClock` continues as before until the new time is confirmed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

#: A step up to which the machine's clock is trusted at once: time services correct so much in steps.
TRUSTED_STEP_MS = 60_000
#: How far the Qlik server's clock may be from one that it confirms.
CONFIRMED_MS = 10 * 60_000
#: A clock that is ahead of the newest time in the journal by so much is trusted at the start.
TRUSTED_AT_START_MS = 86_400_000
#: A clock that nobody confirmed is trusted after so long.
MOST_DOUBT_MS = 86_400_000
#: Seconds between two warnings.
WARN_SECONDS = 3600.0

_log = logging.getLogger("butler_mqtt.clock")


#: On Linux it counts through suspensions.
_SINCE_BOOT: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_ms() -> int:
    """Return milliseconds since the machine was started; on Linux those of suspension too."""
    return time.clock_gettime_ns(_SINCE_BOOT) // 1_000_000


def elapsed_ms_at(monotonic: float) -> int:
    """Return what `elapsed_ms` was at a *monotonic* time, if the machine was not suspended since."""
    return elapsed_ms() - round((time.monotonic() - monotonic) * 1000)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SteadyClock:
    """
    The machine's clock without its jumps; thread-safe.

    It is *trusted* until it jumps, *in doubt* until the new time is confirmed.

    Args:
        wall: The machine's clock, in milliseconds since 1970.
        elapsed: Milliseconds since some moment, which nobody can set.
    """

    def __init__(self, wall: Callable[[], int] = _wall_ms, elapsed: Callable[[], int] = elapsed_ms) -> None:
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self.restart(wall)

    def restart(self, wall: Callable[[], int] = _wall_ms) -> None:
        """Trust the machine's clock *wall* again, as a process that begins does; for several in one."""
        with self._lock:
            self._wall = wall
            #: The time at which *elapsed* was 0, in milliseconds since 1970.
            self._base = wall() - self._elapsed()
            #: When the doubt began, in elapsed milliseconds; None while the machine's clock is trusted.
            self._doubt_since: int | None = None
            self._warned_at = 0
            #: By how much confirmed clocks moved it forward: what was recorded before seems older by that.
            self._moved_on_ms = 0

    def now_ms(self) -> int:
        """Return the present time."""
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            if abs(wall - elapsed - self._base) <= TRUSTED_STEP_MS:
                if self._doubt_since is None:
                    self._base = wall - elapsed  # as `_trust`; a dozen times for each request
                else:
                    self._trust(wall, elapsed)
                return wall
            self._doubt(wall, elapsed)
            return self._base + elapsed

    @property
    def doubted(self) -> bool:
        """Return whether the machine's clock has jumped and nothing has confirmed it so far."""
        return self._doubt_since is not None

    def pruning_ms(self) -> int | None:
        """Return the time by which old rows may be deleted; None while the machine's clock is in doubt."""
        now = self.now_ms()
        return None if self.doubted else now - self._moved_on_ms

    def begin(self, newest_ms: int | None) -> None:
        """
        Compare the machine's clock with the newest time in the journal, *newest_ms*.

        A clock that is behind it, or more than a day ahead of it, is in doubt from the
        start: a machine without a battery may begin in any year.
        """
        if newest_ms is None:
            return
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            if newest_ms - TRUSTED_STEP_MS <= wall <= newest_ms + TRUSTED_AT_START_MS:
                # It may have been wrong a moment ago, when this clock was made.
                self._base, self._doubt_since = wall - elapsed, None
                return
            self._base = newest_ms - elapsed
            if wall < newest_ms:
                self._doubt(wall, elapsed)
                return
            # Most likely the daemon just has not run for long.
            self._doubt_since = self._warned_at = elapsed
            _log.info(
                "the machine's clock shows %s, and the newest entry of the journal is of %s: until the Qlik"
                " server's clock confirms it nothing expires and nothing is forgotten by it",
                _text(wall),
                _text(newest_ms),
                extra={"action": "clock_unconfirmed"},
            )

    def confirm(self, server_time: datetime | None) -> None:
        """Trust the machine's clock again when the Qlik server's clock agrees, or after a day."""
        if self._doubt_since is None:
            return
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            since = self._doubt_since
            agrees = server_time is not None and abs(_ms(server_time) - wall) <= CONFIRMED_MS
            if since is not None and (agrees or elapsed - since >= MOST_DOUBT_MS):
                self._trust(wall, elapsed)

    def _trust(self, wall: int, elapsed: int) -> None:
        moved = wall - elapsed - self._base
        self._base = wall - elapsed
        if self._doubt_since is None:
            return
        self._doubt_since = None
        self._moved_on_ms += max(0, moved)
        _log.info(
            "the machine's clock is trusted again: it shows %s, %+.0f s from the time that was used",
            _text(wall),
            moved / 1000,
            extra={"action": "clock_followed"},
        )

    def _doubt(self, wall: int, elapsed: int) -> None:
        if self._doubt_since is None:
            self._doubt_since = elapsed
        elif elapsed - self._warned_at < WARN_SECONDS * 1000:
            return
        self._warned_at = elapsed
        _log.warning(
            "the machine's clock has jumped by %+.0f s to %s: until the Qlik server's clock confirms it, or"
            " it is set right, time continues from %s, so that nothing expires or is forgotten too early;"
            " check the time service of this machine",
            (wall - elapsed - self._base) / 1000,
            _text(wall),
            _text(self._base + elapsed),
            extra={"action": "clock_jumped"},
        )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
