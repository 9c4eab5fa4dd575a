"""
Messages for the broker: published until it has taken them.

A message the broker refuses is published again a bounded number of times, then
it is a dead letter; until then later messages of the same request wait, those of
other requests do not. The same goes for one that the broker answers by closing the
connection (`hangup_suspects`).
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol

from butler_mqtt.domain.completions import PublicationRefused
from butler_mqtt.domain.model import Publication
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.outbox.hangup_suspects import Next, Suspects
from butler_mqtt.outbox.message_order import MessageOrder, place

#: Messages kept in memory; more are read from the journal when these have gone.
MAX_IN_MEMORY = 2000
#: Refusals after which a message is a dead letter.
MAX_REFUSALS = 5
#: Seconds to the second attempt, doubled for each further one.
FIRST_PAUSE_SECONDS = 1.0


class PublicationRecords(Protocol):
    """Where it is recorded what became of a message."""

    def published(self, publication: Publication) -> None:
        """Record that the broker has taken a message."""

    def refused_by_broker(self, publication: Publication, refusals: int, reason: str) -> None:
        """Record that the broker did not take a message, for *reason*; it will be published again."""

    def suspected(self, publication: Publication, refusals: int, reason: str) -> None:
        """Record that the broker may have hung up, for *reason*, on a message, to be sent alone now."""

    def dead_letter(self, publication: Publication, reason: str) -> None:
        """Record that a message is a dead letter: the broker will not take it."""


class Outbox:
    """
    Publishes the rows of the outbox in order.

    Args:
        records: Where it is recorded what the broker took or refused.
        publish: Passes a message to the broker; False when there is no room or no connection.
        placed: Returns a message with the topic it may go to now.
        suspects: The messages that the broker may be hanging up on.
        pause_seconds: To the second attempt, doubled for each further one.
    """

    def __init__(
        self,
        records: PublicationRecords,
        publish: Callable[[Publication], bool],
        suspects: Suspects | None = None,
        *,
        placed: Callable[[Publication], Publication] = lambda publication: publication,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._records = records
        self._publish = publish
        self._placed = placed
        self._pause_seconds = pause_seconds
        self._pending: deque[Publication] = deque()
        self._in_flight: dict[int, Publication] = {}
        #: What this turn took out of `_in_flight`, until that is on disk: a failed turn is repeated.
        self._taken: dict[int, Publication] = {}
        self._suspects = Suspects() if suspects is None else suspects
        self._refusals: dict[int, int] = {}
        self._again: list[tuple[float, int, Publication]] = []
        self._sequence = count()
        self._held = MessageOrder()
        self._last_read = 0
        self._more = False

    def __len__(self) -> int:
        return (
            len(self._pending)
            + len(self._in_flight)
            + len(self._again)
            + len(self._suspects)
            + len(self._held)
        )

    @property
    def pending(self) -> bool:
        """Return whether messages wait for room at the broker."""
        return bool(self._pending)

    def load(self, transaction: Transaction) -> None:
        """Begin with what the journal holds; what this process passed to the broker is still in flight."""
        self._pending.clear()
        self._refusals.clear()
        self._suspects.clear()
        self._again.clear()
        self._held.clear()
        self._last_read = 0
        self._more = True
        self.refill(transaction)

    def refill(self, transaction: Transaction) -> None:
        """Read further messages from the journal when few are left in memory."""
        if not self._more or len(self._pending) > MAX_IN_MEMORY // 2:
            return
        rows = queries.unpublished(transaction, after=self._last_read, limit=MAX_IN_MEMORY)
        for row in rows:
            self._last_read = row["id"]
            if row["refusals"]:
                self._refusals[row["id"]] = row["refusals"]
            if row["reason"] is not None:
                self._suspects.mark(row["id"])
            if row["id"] in self._taken:
                # Its outcome did not get on disk: the repeated turn has it again.
                self._in_flight[row["id"]] = self._taken.pop(row["id"])
            if row["id"] in self._in_flight:
                continue
            self._pending.append(
                Publication(
                    row["id"],
                    row["topic"],
                    row["payload"],
                    row["request_id"],
                    row["correlation"],
                    row["delivery"],
                )
            )
        self._more = len(rows) == MAX_IN_MEMORY

    def add(self, publications: Iterable[Publication]) -> None:
        """Add messages that are on disk now, with all else of the turn."""
        self._taken.clear()
        for publication in publications:
            if self._more or len(self._pending) >= MAX_IN_MEMORY:
                # They come after others that are only on disk; reading keeps the order.
                self._more = True
                return
            self._pending.append(publication)
            self._last_read = publication.id

    def publish(self) -> None:
        """Publish as many as the broker has room for."""
        turn = self._suspects.next(in_flight=bool(self._in_flight))
        if turn is Next.SUSPECT and self._offer(self._suspects.first()):
            self._suspects.sent()
        if turn is not Next.OTHERS:
            return
        now = time.monotonic()
        while self._again and self._again[0][0] <= now:
            publication = self._again[0][2]
            if not self._put_back(publication) and not self._offer(publication):
                return
            heapq.heappop(self._again)
        while self._pending:
            publication = self._pending[0]
            if not self._put_back(publication) and not self._offer(publication):
                return
            self._pending.popleft()

    def connected(self) -> None:
        """Record that there is a connection to the broker."""
        self._suspects.connected()

    def confirmed(self, identity: int) -> None:
        """Record that the broker has taken a message."""
        publication = self._take(identity)
        if publication is not None:
            self._records.published(publication)
            self._release(publication)

    def refused(self, event: PublicationRefused) -> None:
        """Record that the broker refused a message: publish it again later, or make it a dead letter."""
        publication = self._take(event.id)
        if publication is None:
            return
        refusals = self._refusals.get(event.id, 0) + 1
        if event.final or refusals >= MAX_REFUSALS:
            self._give_up(publication, event.reason)
            return
        self._refusals[event.id] = refusals
        self._records.refused_by_broker(publication, refusals, event.reason)
        if self._held.hold_up(publication):
            due = time.monotonic() + self._pause_seconds * 2 ** (refusals - 1)
            heapq.heappush(self._again, (due, next(self._sequence), publication))

    def lost(self, identities: Iterable[int], hung_up: str = "") -> None:
        """
        Record that the connection ended before these were confirmed: they go first.

        Args:
            identities: What was in flight.
            hung_up: How the broker closed the connection, as in `PublicationsLost`.
        """
        alone = self._suspects.ended()
        gone = [one for identity in identities if (one := self._take(identity)) is not None]
        again = []
        for publication in sorted(gone, key=place):
            if hung_up and publication.id == alone:
                if not self._blamed(publication, hung_up):
                    continue
            elif hung_up and self._suspects.lost(publication.id):
                self._suspect(publication, hung_up)
            again.append(publication)
        self._pending.extendleft(reversed(again))

    def dropped(self, identities: Iterable[int], *, connection_ended: bool = False) -> None:
        """Forget that these are in flight, whose outcome was dropped after a fault; `load` has them again."""
        if connection_ended:
            self._suspects.ended()
        for identity in identities:
            self._in_flight.pop(identity, None)
            self._taken.pop(identity, None)

    def _take(self, identity: int) -> Publication | None:
        """Take a message out of those in flight, None when it is not among them."""
        publication = self._in_flight.pop(identity, None)
        if publication is not None:
            self._taken[identity] = publication
        return publication

    def _blamed(self, publication: Publication, hung_up: str) -> bool:
        """Count a connection that ended while this message was alone; False when it is a dead letter."""
        if self._refusals.get(publication.id, 0) + 1 < MAX_REFUSALS:
            self._suspect(publication, hung_up)
            return True
        self._give_up(publication, f"each time it was sent alone the connection ended: {hung_up}")
        return False

    def _suspect(self, publication: Publication, hung_up: str) -> None:
        self._refusals[publication.id] = refusals = self._refusals.get(publication.id, 0) + 1
        self._suspects.mark(publication.id)
        self._records.suspected(publication, refusals, hung_up)

    def _give_up(self, publication: Publication, reason: str) -> None:
        self._records.dead_letter(publication, reason)
        self._release(publication)

    def _put_back(self, publication: Publication) -> bool:
        """Let a message wait for an earlier one of its request, or to be sent alone."""
        if self._held.wait(publication):
            return True
        if publication.id in self._suspects:
            if self._held.hold_up(publication):
                self._suspects.append(publication)
            return True
        return False

    def _offer(self, publication: Publication) -> bool:
        publication = self._placed(publication)
        # Registered before publishing: the confirmation comes from another thread.
        self._in_flight[publication.id] = publication
        if self._publish(publication):
            return True
        self._in_flight.pop(publication.id, None)
        return False

    def _release(self, publication: Publication) -> None:
        """Release the messages that waited for this one, which is published or a dead letter."""
        self._refusals.pop(publication.id, None)
        self._suspects.acquit(publication.id)
        self._pending.extendleft(reversed(self._held.release(publication)))
