"""
Which arrivals are taken up: who sent them, whether that sender may, and how many came in the last minute.

Requests are counted by the journal: `load` reads the last minute, so that a
restart forgets none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Arrival, Request
from butler_mqtt.domain.senders import OPERATOR, Caller, Senders, asked
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.settings import Settings

#: Milliseconds in which `requestsPerMinute` are counted.
WINDOW_MS = 60_000


class TooManyRequests(RequestError):
    """More than `requestsPerMinute`; the next may come in `retry_after` seconds."""

    def __init__(self, sender: str, limit: int, seconds: int) -> None:
        self.retry_after = seconds
        super().__init__(
            "rate_limited",
            "Too many requests",
            f"the sender {sender} has sent {limit} requests in the last minute, as many as its "
            f"requestsPerMinute allows; send this one again in {seconds} s",
        )


class Admission:
    """
    Judges arrivals before their requests are recorded.

    Args:
        settings: With the senders.
    """

    def __init__(self, settings: Settings) -> None:
        self._last: dict[str, deque[int]] = {}
        self._use(settings)

    def reconfigured(self, settings: Settings, transaction: Transaction) -> None:
        """Judge by other senders from now on."""
        self._use(settings)
        self.load(transaction)

    def load(self, transaction: Transaction) -> None:
        """Read from the journal when the last requests of each sender with a limit came."""
        since = now_ms() - WINDOW_MS
        self._last = {
            name: deque(queries.times_of(transaction, name, since=since, limit=limit), limit)
            for name, limit in self._limits.items()
        }

    def caller(self, arrival: Arrival) -> Caller:
        """Return who sent *arrival*."""
        return self._senders.of(arrival)

    def turned_away(self, caller: Caller) -> RequestError | None:
        """Return why nothing is taken from *caller*; None if its requests are."""
        return self._senders.refusal(caller)

    def counted(self, caller: Caller, received_at: int) -> RequestError | None:
        """Count a new request that came at *received_at* (milliseconds since 1970), or return its refusal."""
        sender = caller.identity
        if sender is None or sender not in self._limits or caller.role == OPERATOR:
            return None
        times, limit = self._last[sender], self._limits[sender]
        # One of the time to come is from before the clock was set back.
        if len(times) == limit and abs(received_at - times[0]) < WINDOW_MS:
            left = min(WINDOW_MS, times[0] + WINDOW_MS - received_at)
            return TooManyRequests(sender, limit, -(-left // 1000))
        times.append(received_at)
        return None

    def forbids(self, caller: Caller, request: Request) -> RequestError | None:
        """Return why *caller* may not do what *request* asks; None if it may."""
        return self._senders.forbids(caller, *asked(request)) if self._senders.configured else None

    def _use(self, settings: Settings) -> None:
        self._senders = Senders(settings)
        limits = {one.name: one.requests_per_minute for one in settings.senders}
        self._limits: Mapping[str, int] = {name: one for name, one in limits.items() if one is not None}
