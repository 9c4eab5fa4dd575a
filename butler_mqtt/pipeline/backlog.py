"""
The requests that are on disk only, because too many are open to keep all in memory.

They are read in order of arrival as those in memory are resolved.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.open_work import OpenRequest
from butler_mqtt.domain.states import RequestState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import held_requests, queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.pipeline.stored_requests import StoredRequests
from butler_mqtt.resolving.resolver import Resolver

#: Requests kept in memory while their tasks are not known.
MAX_IN_MEMORY = 4000
#: Expired requests refused in one turn.
MAX_EXPIRED = 200

#: Why what has not begun of a request is cancelled.
DISCARDED = (
    "an operator discarded it after a backup had been restored; what was started after that backup was made "
    "is not known here"
)

_log = logging.getLogger("butler_mqtt.recovery")


class Backlog:
    """
    Passes requests without tasks to the resolver, or leaves them on disk.

    Args:
        ledger: Keeps the open requests that are in memory.
        resolver: Finds their tasks.
        stored: Reads requests from the journal.
        limit: How many the resolver gets at most.
    """

    def __init__(self, ledger: Ledger, resolver: Resolver, stored: StoredRequests, limit: int) -> None:
        self._ledger = ledger
        self._resolver = resolver
        self._stored = stored
        self._limit = limit
        self._last_read = 0
        self._more = False
        #: Requests held since a backup was restored, and those whose rest an operator has discarded.
        self.held = 0
        self.cancelling: set[int] = set()

    def load(self, transaction: Transaction) -> None:
        """Begin with the oldest request on disk; `refill` reads it."""
        self._report_held(held_requests.count(transaction))
        self.cancelling = held_requests.cancelling(transaction)
        self._last_read = 0
        self._more = True

    def add(self, requests: Sequence[OpenRequest]) -> None:
        """Pass new requests to the resolver, or leave them on disk while it has enough."""
        for opened in requests:
            if self._more or len(self._resolver) >= self._limit:
                self._more = True
                self._ledger.requests.leave_on_disk(opened)
            else:
                self._last_read = opened.id
                self._resolver.add([opened])

    def refill(self, transaction: Transaction) -> None:
        """Read further requests when few are left in memory."""
        if not self._more or len(self._resolver) > self._limit // 2:
            return
        rows = queries.received(transaction, after=self._last_read, limit=self._limit, held=self.held > 0)
        if rows:
            self._last_read = rows[-1]["id"]
            opened = self._stored.requests(transaction, rows)
            self._ledger.requests.keep(opened)
            discarded = [one for one in opened.values() if one.id in self.cancelling]
            self._resolver.add(one for one in opened.values() if one.id not in self.cancelling)
            for one in discarded:
                self._ledger.requests.refused(one, RequestError("cancelled", "Request cancelled", DISCARDED))
            if discarded:
                held_requests.cancelled(transaction, [one.id for one in discarded])
        self._more = len(rows) == self._limit

    def expire(self, transaction: Transaction) -> None:
        """Refuse requests of the backlog that are too late."""
        if not self._more:
            return
        rows = queries.expired(
            transaction, now=now_ms(), after=self._last_read, limit=MAX_EXPIRED, held=self.held > 0
        )
        # A cancel may have refused one of them earlier in this turn.
        states = self._ledger.requests.present_state
        rows = [row for row in rows if states(row["id"], row["state"]) is RequestState.RECEIVED]
        for opened in self._stored.requests(transaction, rows).values():
            error = RequestError(
                "expired", "Request expired", "its tasks had not been found when its time was over"
            )
            self._ledger.requests.refused(opened, error)

    def _report_held(self, held: int) -> None:
        if held and held != self.held:
            _log.warning(
                "%s requests are held since a backup was restored: nothing of them is started, reconciled or "
                "published until butler-mqtt requests resume; butler-mqtt requests --held lists them",
                held,
                extra={"action": "requests_held"},
            )
        self.held = held
