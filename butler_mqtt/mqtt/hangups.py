"""
Connections that the broker closes just after it accepted them, without a word.

Brokers do so to what they do not take: a retained message, a topic, a
subscription. A rolling restart looks the same, and so does another client with
our client id. So it proves nothing: what the daemon can do without is left
out for a while, the log names what was sent last, and it tries again for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.reconnect_pauses import STABLE_SECONDS

#: So many in a row are a suspicion.
SHORT_CONNECTIONS = 3
#: Seconds of a good connection without the status after which it is tried again, and after that has failed.
RETRY_SECONDS = 60.0
LATER_SECONDS = 3600.0


class Hangups:
    """
    What was sent last, and whether birth, will and the subscription to `statusTopic` are left out.

    Not thread-safe: the network thread's own.

    Args:
        status_topic: For the log.
        clock: Monotonic time in seconds.
    """

    def __init__(self, status_topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._status_topic = status_topic
        self._clock = clock
        self._with_status = True
        self._sent = "CONNECT"
        self._in_a_row = 0
        self._told_at = SHORT_CONNECTIONS
        self._accepted_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._trying = False

    @property
    def with_status(self) -> bool:
        """Whether the next connection is to have birth, will and the subscription to `statusTopic`."""
        return self._with_status

    @property
    def suspicion(self) -> str:
        """Explain what the broker may be objecting to; empty without a suspicion."""
        return f"last sent: {self._sent}" if self._in_a_row >= SHORT_CONNECTIONS else ""

    def accepted(self) -> None:
        """Note that a connection began."""
        self._accepted_at = self._clock()

    def sent(self, what: str) -> None:
        """Note what was sent on it, for people."""
        self._sent = what

    def closed(self, ended: Ended) -> str | None:
        """
        Count the end of a connection or of an attempt at one.

        An attempt that failed in between points to a broker that restarts, and
        the count starts at 0 again.

        Returns:
            What an operator should know; None when there is nothing new.
        """
        trying = self._trying
        if ended.lasted is not None and not ended.ours:
            self._trying = False
        if not ended.hung_up or ended.lasted is None or ended.lasted >= STABLE_SECONDS:
            self._in_a_row = 0
            self._told_at = SHORT_CONNECTIONS
            if trying and not self._trying:
                self._retry_seconds = RETRY_SECONDS
            return None
        self._in_a_row += 1
        if trying:
            self._with_status = False
            self._retry_seconds = LATER_SECONDS
            return (
                f"the broker still closes the connection ({ended.reason}) when it has the status on "
                f"{self._status_topic}: going on without it, until the next try in {LATER_SECONDS:.0f} s"
            )
        if self._in_a_row % SHORT_CONNECTIONS:
            return None
        self._with_status = not self._with_status
        if self._in_a_row < self._told_at:
            return None
        self._told_at *= 2
        return (
            f"the broker has closed {self._in_a_row} connections in a row within {STABLE_SECONDS:.0f} s of "
            f"accepting them ({ended.reason}); last sent: {self._sent}, which it may object to, unless it "
            f"restarts or another client has this client id. {self._consequence()}; trying again"
        )

    def retry(self) -> bool:
        """Return whether it is time to try with the status again; then the next connection has it."""
        if self._with_status or self._clock() - self._accepted_at < self._retry_seconds:
            return False
        self._with_status = self._trying = True
        return True

    def _consequence(self) -> str:
        topic = self._status_topic
        if self._with_status:
            return f"It was no help to leave out the status on {topic}"
        return f"Going on without the status on {topic} (birth, will and subscription)"
