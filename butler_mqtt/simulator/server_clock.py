"""The server's time: a clock that may be wrong on purpose, and what is to happen later."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

#: "Never" and "no end" as the QRS writes them.
NEVER = "1753-01-01T00:00:00.000Z"
NO_END = "9999-12-30T23:59:59.999Z"


def stamp(moment: datetime) -> str:
    """Write an aware *moment* the QRS way: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock:
    """
    Server time with an offset, and a monotonic time that nobody can set.

    Args:
        wall: Seconds since 1970.
        monotonic: Seconds that only grow.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self.offset_seconds = 0.0
        #: How old the `Date` header is, and what becomes of it: `live`, `constant` or `missing`.
        self.date_age_seconds = 0.0
        self._date_kind = "live"
        self._constant = b""
        self._header: tuple[int, bytes] = (-1, b"")
        self._stamp: tuple[int, str] = (-1, "")

    def now(self) -> float:
        """Return the server's time in seconds since 1970, offset included."""
        return self._wall() + self.offset_seconds

    def keep_date(self, kind: str) -> None:
        """Let the `Date` header be `live`, `constant` from now on, or `missing`."""
        if kind == "constant" and self._date_kind != "constant":
            self._constant = self._date()
        self._date_kind = kind

    def stamp(self, skew_seconds: float = 0.0) -> str:
        """Return the server's time as QRS writes it, for a node whose clock is ahead by *skew_seconds*."""
        millisecond = int((self.now() + skew_seconds) * 1000)
        if self._stamp[0] != millisecond:
            # A start writes a dozen of them within one millisecond.
            self._stamp = (millisecond, stamp(datetime.fromtimestamp(millisecond / 1000, UTC)))
        return self._stamp[1]

    def date_header(self) -> bytes | None:
        """Return the value of the `Date` header, None for none."""
        if self._date_kind == "missing":
            return None
        return self._constant if self._date_kind == "constant" else self._date()

    def _date(self) -> bytes:
        second = int(self.now() - self.date_age_seconds)
        if self._header[0] != second:
            self._header = (second, formatdate(second, usegmt=True).encode())
        return self._header[1]


class Timer:
    """Something that is to happen at `due` (monotonic seconds); may be cancelled."""

    __slots__ = ("_action", "due")

    def __init__(self, due: float, action: Callable[[], None]) -> None:
        self.due = due
        self._action: Callable[[], None] | None = action

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due

    @property
    def cancelled(self) -> bool:
        """Return whether it was cancelled or has happened."""
        return self._action is None

    def cancel(self) -> None:
        """Forget it, and everything the action holds in memory."""
        self._action = None

    def fire(self) -> None:
        """Do it now, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Agenda:
    """
    What is to happen later, in order of time.

    Nothing happens by itself: `run` does what is due. `on_earlier` is called
    when the next due time has come nearer, for whoever waits for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: list[Timer] = []
        self.on_earlier: Callable[[], None] = lambda: None

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Plan *action* in *seconds* (0 or more) from now."""
        timer = Timer(self._clock.monotonic() + seconds, action)
        heapq.heappush(self._timers, timer)
        if self._timers[0] is timer:
            self.on_earlier()
        return timer

    def next_due(self) -> float | None:
        """Return the monotonic time of the next event, None when none is scheduled."""
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0].due if self._timers else None

    def clear(self) -> None:
        """Forget everything that is planned."""
        self._timers.clear()

    def run(self) -> None:
        """Do everything that is due, in order; what an action plans for now happens as well."""
        while (due := self.next_due()) is not None and due <= self._clock.monotonic():
            heapq.heappop(self._timers).fire()
