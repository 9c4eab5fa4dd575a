"""
How many messages of a connection the daemon has in hand, and whether it reads more.

A broker is asked not to send more than `receiveMaximum` without an acknowledgement, which
is not enough: MQTT 3.1.1 has no such limit, messages of QoS 0 are never acknowledged, and
mosquitto 2.0 sends as many again at each PUBACK. What is not read waits with the broker.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds without a message done with after which is read on all the same: the answer to a PINGREQ may
#: stand behind them, and a connection on which that is not read is given up.
PATIENCE_SECONDS = 10.0


class InHand:
    """
    Counts on one connection: `came` for the network thread, `done` for another.

    Args:
        most: No more is read while there are so many, until half of them are done with.
        wake: Called by `done` when more may be read.
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
        #: While nothing is read: how many were done with when that was last looked at, and when it changed.
        self._paused: tuple[int, float] | None = None

    def came(self) -> None:
        """Count a message that was passed on."""
        self._came += 1

    def done(self) -> None:
        """Count a message that is done with."""
        self._done += 1
        if self._came - self._done == self._most // 2:
            self._wake()

    def may_read(self) -> bool:
        """Return whether more may be read; on the network thread."""
        done = self._done
        left = self._came - done
        paused = self._paused
        if left < self._most if paused is None else left <= self._most // 2:
            self._paused = None
            return True
        if paused is None or paused[0] != done:
            self._paused = (done, self._monotonic())
            return False
        return self._monotonic() - paused[1] >= PATIENCE_SECONDS
