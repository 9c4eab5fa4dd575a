"""
Identifies the message that a broker answers by closing the connection.

MQTT 3.1.1 has no other way to refuse a message, and brokers of MQTT 5 use it
too, so whoever chooses a reply topic could stop all replies for ever. What was
in flight at several such ends is suspected, and sent alone on a connection
that has proved itself: only what ends that one, again and again, is to blame.
An outage or a restart of the broker ends no such connection.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from butler_mqtt.domain.model import Publication

#: Connections that the broker closed while a message was in flight, after which the message is suspected.
MAX_LOSSES = 2
#: Seconds for which a connection must have lasted before a suspected message is sent on it; backoff starts
#: again after as many.
QUIET_SECONDS = 5.0
#: Seconds after which the end of a connection is not attributed to the last message, and after which the
#: others no longer wait for the outcome.
SOON_SECONDS = 5.0
#: The shortest wait where connections do not last, in seconds.
LEAST_QUIET_SECONDS = 0.1


class Next(Enum):
    """What may be sent."""

    #: The messages that are not suspected.
    OTHERS = auto()
    #: None: what is in flight has to be confirmed first.
    NOBODY = auto()
    #: The first suspected message, alone.
    SUSPECT = auto()


class Suspects:
    """
    The messages that may be to blame, and when the next of them may be sent.

    Args:
        quiet_seconds: How long a connection must have lasted first.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, quiet_seconds: float = QUIET_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._losses: dict[int, int] = {}
        self._suspected: set[int] = set()
        self._queue: deque[Publication] = deque()
        self._since: float | None = None
        self._wait = quiet_seconds
        #: The message that was sent alone, when, and whether the connection had proved itself before.
        self._alone: tuple[int, float, bool] | None = None
        self._draining_since: float | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, identity: int) -> bool:
        return identity in self._suspected

    def clear(self) -> None:
        """Forget which messages are suspected; the journal knows."""
        self._losses.clear()
        self._suspected.clear()
        self._queue.clear()

    def mark(self, identity: int) -> None:
        """Suspect a message."""
        self._suspected.add(identity)

    def acquit(self, identity: int) -> None:
        """Stop suspecting a message: it is confirmed, or a dead letter."""
        self._losses.pop(identity, None)
        self._suspected.discard(identity)
        if self._alone is not None and self._alone[0] == identity:
            self._alone = None

    def append(self, publication: Publication) -> None:
        """Let a suspected message wait for its turn."""
        self._queue.append(publication)

    def connected(self) -> None:
        """Record that there is a connection."""
        if self._since is None:
            self._since = self._clock()

    def ended(self) -> int | None:
        """
        Record the end of a connection.

        Returns:
            The message that was alone in flight on a connection that had proved
            itself, and had been sent just before; None if there is none.
        """
        now = self._clock()
        alone, self._alone = self._alone, None
        if alone is not None:
            self._wait = self._quiet_seconds
        elif self._queue and self._since is not None and now - self._since < self._wait:
            # Where no connection lasts, they are sent sooner, and nothing is concluded.
            self._wait = max(self._wait / 2, LEAST_QUIET_SECONDS)
        self._since = None
        self._draining_since = None
        if alone is None or not alone[2] or now - alone[1] > SOON_SECONDS:
            return None
        return alone[0]

    def lost(self, identity: int) -> bool:
        """Count that the broker hung up while a message was in flight; return whether it is suspected now."""
        self._losses[identity] = self._losses.get(identity, 0) + 1
        return identity not in self._suspected and self._losses[identity] >= MAX_LOSSES

    def next(self, *, in_flight: bool) -> Next:
        """Return what may be sent; *in_flight*: whether a message is in flight."""
        now = self._clock()
        if self._alone is not None:
            if now - self._alone[1] <= SOON_SECONDS:
                return Next.NOBODY
            self._alone = None  # slow, but no reason to delay the others
        if not self._queue or self._since is None or now - self._since < self._wait:
            return Next.OTHERS
        if not in_flight:
            return Next.SUSPECT
        if self._draining_since is None:
            self._draining_since = now
        if now - self._draining_since <= SOON_SECONDS:
            return Next.NOBODY
        self._since, self._draining_since = now, None
        return Next.OTHERS

    def first(self) -> Publication:
        """Return the message to be sent alone; raises IndexError when there is none."""
        return self._queue[0]

    def sent(self) -> None:
        """Record that it was sent."""
        now = self._clock()
        proved = self._since is not None and now - self._since >= self._quiet_seconds
        self._alone = (self._queue.popleft().id, now, proved)
        self._draining_since = None
