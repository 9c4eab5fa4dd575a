"""
Which messages for rules have been judged already, and are delivered again.

As for requests (G3), with a table of their own: one message may become several
requests, or none, and is judged once all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from butler_mqtt.domain.completions import RuleSessionBegan
from butler_mqtt.domain.model import Message
from butler_mqtt.intake.redelivery import Acknowledgements, Packet, Packets, digest_of
from butler_mqtt.journal import rule_rows
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.rule_records import RuleRecords


class RulePackets:
    """
    Knows the last messages of the session with the broker.

    Args:
        records: Writes them.
        limit: How many of the last are compared in any case: `receiveMaximum`.
    """

    def __init__(self, records: RuleRecords, limit: int) -> None:
        self._records = records
        self._limit = limit
        self._packets = Packets(1, 0, (), (), limit)
        #: On disk, oldest first.
        self._kept: deque[Packet] = deque()
        self._acknowledgements = Acknowledgements()
        #: Whether the broker had kept the session, by connection.
        self._present: dict[int, bool] = {}
        #: The newest row before the turn in hand.
        self._before = 0

    def load(self, transaction: Transaction) -> None:
        """Read what may come again."""
        kept = [Packet(row["packet_id"], row["digest"], row["id"]) for row in rule_rows.packets(transaction)]
        self._kept = deque(kept)
        self._packets = Packets(1, 0, kept, kept[-self._limit :], self._limit)
        self._acknowledgements.forget_recorded()

    def session_began(self, event: RuleSessionBegan) -> None:
        """Forget all where the broker has forgotten the session."""
        self._acknowledgements.connection_began(event.generation)
        if event.generation in self._present:
            return  # a turn that is repeated
        self._present = {event.generation: event.present}
        if not event.present:
            for packet in self._kept:
                self._records.packet_forgotten(packet.row)
            self._kept.clear()
            self._packets = Packets(1, 0, (), (), self._limit)

    def begin(self, last: int, *, again: bool) -> None:
        """Begin a turn; *last* is the newest row so far, which counts at its first attempt only."""
        if not again:
            self._before = last

    def is_new(self, message: Message, *, again: bool) -> bool:
        """Return whether *message* is to be judged, and record it."""
        if not message.packet_id:
            return True
        repeated = message.dup and self._present.get(message.generation, False)
        content = digest_of(message)
        packet = self._packets.find(message.packet_id, content) if again or repeated else None
        if packet is not None and not repeated and packet.row <= self._before:
            # An equal message from before, whose packet id is in use again.
            packet = None
        known = packet is not None
        if packet is None:
            packet = self._packets.add(message.packet_id, content)
            self._packets.placed(packet, self._records.packet_added(message.packet_id, content))
            self._kept.append(packet)
            self._forget()
        self._acknowledgements.recorded(message, packet)
        return not known

    def acknowledged(self, messages: Iterable[Message]) -> None:
        """Record that *messages* were acknowledged, in this order."""
        self._acknowledgements.sent(messages)

    def acknowledgements_read(self, generation: int, count: int) -> None:
        """Apply the proof that the broker has read the first *count* acknowledgements of a connection."""
        self._packets.read(self._acknowledgements.read(generation, count))
        self._forget()

    def _forget(self) -> None:
        """Drop the oldest beyond the limit whose acknowledgement was read."""
        while len(self._kept) > self._limit:
            oldest = self._kept[0]
            if self._packets.awaits(oldest.packet_id, oldest.row):
                return
            self._records.packet_forgotten(self._kept.popleft().row)
