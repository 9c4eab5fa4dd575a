"""
Time as the journal keeps it: whole milliseconds since 1970, UTC.

The clock of a machine can jump: a wrong NTP server, no battery, a hand. What is
old is forgotten and what is late is refused by it, so that a jump must not be
believed at once. `SteadyClock` goes on as before until the new time is confirmed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: The first and the last millisecond of the calendar: years 1 and 9999. Rounding up the end of the last
#: year, which many programs write for "never", would lead beyond it.
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A difference up to which the machine's clock is followed at once: time services correct so much in steps.
FOLLOWED_MS = 60_000
#: How far the Qlik server's clock may be from one that it confirms.
CONFIRMED_MS = 10 * 60_000
#: So long after the newest time in the journal a clock is believed at the start without more proof.
BELIEVED_AT_START_MS = 86_400_000
#: A clock that nobody confirmed is believed after so long.
MOST_DOUBT_MS = 86_400_000
#: Seconds between two warnings.
WARN_SECONDS = 3600.0

_log = logging.getLogger("butler_mqtt.clock")


def _elapsed_ms() -> int:
    """Give milliseconds since the machine was started, times of suspension among them where that is known."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SteadyClock:
    """
    The machine's clock without its jumps; thread-safe.

    Args:
        wall: The machine's clock, in milliseconds since 1970.
        elapsed: Milliseconds that nobody can set.
    """

    def __init__(self, wall: Callable[[], int] = _wall_ms, elapsed: Callable[[], int] = _elapsed_ms) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._base = wall() - elapsed()
        #: When the doubt began, in elapsed milliseconds; None while the machine's clock is followed.
        self._doubt_since: int | None = None
        self._warned_at = 0
        #: How far a clock that was confirmed moved it on: what was recorded before looks older by that.
        self._moved_on_ms = 0

    def now_ms(self) -> int:
        """Give the present time."""
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            if abs(wall - elapsed - self._base) <= FOLLOWED_MS:
                self._follow(wall, elapsed)
                return wall
            self._doubt(wall, elapsed)
            return self._base + elapsed

    @property
    def doubted(self) -> bool:
        """Whether the machine's clock has jumped and nothing has confirmed it so far."""
        return self._doubt_since is not None

    def pruning_ms(self) -> int | None:
        """Give the time by which old things may be forgotten; None while the machine's clock is in doubt."""
        now = self.now_ms()
        return None if self.doubted else now - self._moved_on_ms

    def begin(self, newest_ms: int | None) -> None:
        """
        Take note of the newest time in the journal, *newest_ms*, once it has been read.

        A clock that is behind it, or more than a day ahead of it, is doubted from the
        start: a machine without a battery may begin in any year.
        """
        if newest_ms is None:
            return
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            if newest_ms - FOLLOWED_MS <= wall <= newest_ms + BELIEVED_AT_START_MS:
                # It may have been wrong a moment ago, when this clock was made.
                self._base, self._doubt_since = wall - elapsed, None
                return
            self._base = newest_ms - elapsed
            if wall < newest_ms:
                self._doubt(wall, elapsed)
                return
            # Most likely it just has not run for long.
            self._doubt_since = self._warned_at = elapsed
            _log.info(
                "the machine's clock shows %s, and the newest entry of the journal is of %s: until the Qlik"
                " server's clock confirms it nothing expires and nothing is forgotten by it",
                _text(wall),
                _text(newest_ms),
                extra={"action": "clock_unconfirmed"},
            )

    def confirm(self, server_time: datetime | None) -> None:
        """Believe the machine's clock again when the Qlik server's clock agrees, or after a day."""
        if self._doubt_since is None:
            return
        with self._lock:
            wall, elapsed = self._wall(), self._elapsed()
            since = self._doubt_since
            agrees = server_time is not None and abs(_ms(server_time) - wall) <= CONFIRMED_MS
            if since is not None and (agrees or elapsed - since >= MOST_DOUBT_MS):
                self._follow(wall, elapsed)

    def _follow(self, wall: int, elapsed: int) -> None:
        moved = wall - elapsed - self._base
        self._base = wall - elapsed
        if self._doubt_since is None:
            return
        self._doubt_since = None
        self._moved_on_ms += max(0, moved)
        _log.info(
            "the machine's clock is followed again: it shows %s, %+.0f s from where time went on",
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
            " it is set right, time goes on from %s, so that nothing expires or is forgotten too early; look"
            " at the time service of this machine",
            (wall - elapsed - self._base) / 1000,
            _text(wall),
            _text(self._base + elapsed),
            extra={"action": "clock_jumped"},
        )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


#: The one of this process: whoever asks for the time must get the same answer.
STEADY = SteadyClock()


def now_ms() -> int:
    """Give the present time."""
    return STEADY.now_ms()


def to_ms(moment: datetime | None) -> int | None:
    """Turn an aware datetime into milliseconds; None stays None."""
    return None if moment is None else min(round(moment.timestamp() * 1000), LAST_MS)


def from_ms(moment: int | None) -> datetime | None:
    """Turn milliseconds into an aware datetime in UTC, the nearest there is; None stays None."""
    return None if moment is None else _EPOCH + timedelta(milliseconds=min(max(moment, FIRST_MS), LAST_MS))


# ---- moments that outlive the process, but not the machine's run

#: Bits of a moment that hold its milliseconds: 278 years since the machine was started.
_BITS = 43


def boot_number(file: Path = Path("/proc/sys/kernel/random/boot_id")) -> int:
    """Give a number of this run of the machine, 20 bits; 0 where the system does not tell (not Linux)."""
    try:
        return int(file.read_text("ascii").strip().replace("-", "")[:5], 16) or 1
    except (OSError, ValueError):
        return 0


def moment() -> int:
    """
    Give the present moment for the journal, whatever the machine's clock says.

    It counts from the start of the machine (CLOCK_BOOTTIME) and names that start.
    """
    return (boot_number() << _BITS) | _elapsed_ms()


def seconds_since(stored: int) -> float:
    """Give the seconds since a `moment`; 0 when it is of another run of the machine, or cannot be known."""
    number = boot_number()
    if not number or stored >> _BITS != number:
        return 0.0
    return max(0, _elapsed_ms() - (stored & ((1 << _BITS) - 1))) / 1000
