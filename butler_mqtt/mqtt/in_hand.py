"""
How many messages of a connection the daemon has in hand, and whether it takes more.

A broker is asked not to send more than `receiveMaximum` without an acknowledgement, which
is not enough: MQTT 3.1.1 has no such limit, messages of QoS 0 are never acknowledged, and
mosquitto 2.0 sends as many again at each PUBACK. What is not read waits with the broker.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds from one pause to the next message at the latest, if there is room for it.
PAUSE_SECONDS = 1.0


class InHand:
    """
    Counts on one connection: `takes` for the network thread, `done` for another.

    Args:
        most: No more is taken while there are so many, until half of them are done with: reading
            them one by one would cost the thread that is at work on them more.
        wake: Called by `done` when more may be taken.
        monotonic: The clock, seconds.
    """

    def __init__(
        self, most: int, wake: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._wake = wake
        self._monotonic = monotonic
        # A writer each.
        self._came = 0
        self._done = 0
        self._paused_at: float | None = None
        self._left_out = False

    def takes(self) -> bool:
        """
        Count a message that has come, and return whether it is to be passed on.

        It is not when it came all the same, as the rest of a connection that has ended does: the
        broker delivers it again, and all that came after it, which is not passed on either.
        """
        if self._left_out or self._came - self._done >= self._most:
            self._left_out = True
            return False
        self._came += 1
        return True

    def done(self) -> None:
        """Count a message that is done with."""
        self._done += 1
        if self._came - self._done == self._most // 2:
            self._wake()

    def has_room(self) -> bool:
        """Return whether another message may be read; on the network thread."""
        left = self._came - self._done
        if self._paused_at is None:
            if left < self._most:
                return True
            self._paused_at = self._monotonic()
        elif left <= self._most // 2 or (
            left < self._most and self._monotonic() - self._paused_at >= PAUSE_SECONDS
        ):
            self._paused_at = None
            return True
        return False
