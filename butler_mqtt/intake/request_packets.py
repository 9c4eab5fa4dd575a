"""
Which messages of requests have been recorded already, and are delivered again by the broker.

Each connection belongs to a session that the broker kept, or has begun anew;
only within one can a packet come again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from butler_mqtt.domain.model import Message
from butler_mqtt.intake.redelivery import Acknowledgements, Packet, Packets
from butler_mqtt.journal import queries
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.deliveries import Deliveries
from butler_mqtt.ledger.notes import Notes

#: Connections of this process whose session is remembered.
MAX_CONNECTIONS = 16

_log = logging.getLogger("butler_mqtt.intake")


class RequestPackets:
    """
    Knows the packets of the sessions with the broker.

    Args:
        deliveries: Writes sessions, and what the broker is proved to have read.
        notes: Writes that a packet came again.
        limit: How many of the last packets are compared in any case: `receiveMaximum`.
    """

    def __init__(self, deliveries: Deliveries, notes: Notes, limit: int) -> None:
        self._deliveries = deliveries
        self._notes = notes
        self._limit = limit
        #: The newest session with the broker, and that of each connection of this process with whether
        #: the broker had kept it.
        self._session = 0
        self._connections: dict[int, tuple[int, bool]] = {}
        #: What redeliveries are compared with: in the newest session, and in those a repeated turn asks for.
        self._packets: dict[int, Packets] = {}
        self._acknowledgements = Acknowledgements()
        self._noted = 0
        #: The newest delivery before the first attempt at the turn in hand: of a turn that is repeated only
        #: later ones can be on disk already.
        self._before_attempt = 0

    def load(self, transaction: Transaction) -> None:
        """Read the newest session; forget what belongs to a turn that failed."""
        self._session = queries.newest_session(transaction)
        self._connections = {
            generation: (session, present)
            for generation, (session, present) in self._connections.items()
            if session <= self._session
        }
        self._packets.clear()
        self._acknowledgements.forget_recorded()
        self._noted = self._of_session(transaction, self._session).read_up_to

    def session_began(self, generation: int, present: bool) -> None:
        """Record that a connection with the broker began, with or without the old session."""
        self._acknowledgements.connection_began(generation)
        if generation in self._connections:
            return  # a turn that is repeated although it had been written
        present = present and self._session > 0
        if not present:
            self._session = self._deliveries.session_began()
            self._packets = {self._session: Packets(self._session, 0, (), (), self._limit)}
            self._noted = 0
        self._connections[generation] = (self._session, present)
        for old in sorted(self._connections)[:-MAX_CONNECTIONS]:
            del self._connections[old]

    def session_of(self, message: Message) -> int:
        """Return the session in which *message* came."""
        return self._connections.get(message.generation, (self._session, False))[0]

    def acknowledged(self, messages: Iterable[Message]) -> None:
        """Record that *messages* were acknowledged, in this order."""
        self._acknowledgements.sent(messages)

    def acknowledgements_read(self, generation: int, count: int) -> None:
        """Apply the proof that the broker has read the first *count* acknowledgements of a connection."""
        packets = self._packets.get(self._session)
        if packets is not None:
            packets.read(self._acknowledgements.read(generation, count))

    def note_acknowledged(self) -> None:
        """Write what is proved with a turn that is written anyway; without it more is compared."""
        packets = self._packets.get(self._session)
        if packets is not None and packets.read_up_to > self._noted:
            self._noted = packets.read_up_to
            self._deliveries.acknowledgements_read(packets.session, packets.read_up_to)

    def unread(self) -> Packets | None:
        """Return what redeliveries in the newest session are compared with."""
        return self._packets.get(self._session)

    def begin_attempt(self, last: int) -> None:
        """Begin the first attempt at a turn; *last* is the newest delivery before it."""
        self._before_attempt = last

    def recognise(
        self, transaction: Transaction, message: Message, digest: bytes, *, again: bool
    ) -> tuple[bool, Packet | None]:
        """
        Return whether a message is to be recorded, and what a redelivery of it is compared with.

        Args:
            transaction: That of the turn, to read what was recorded before.
            message: As it came.
            digest: Its `redelivery.digest_of`.
            again: This turn was attempted before, so that the message may be on disk already.
        """
        if message.retain:
            _log.warning(
                "a message retained on %s was acknowledged and not acted upon: publish requests without "
                "the retain flag, and clear it with an empty retained message",
                message.topic,
                extra={"action": "retained_ignored"},
            )
            return False, None
        if not message.packet_id:
            return True, None
        session, present = self._connections.get(message.generation, (self._session, False))
        packets = self._of_session(transaction, session)
        packet = None
        if again or (message.dup and present):
            packet = packets.find(message.packet_id, digest)
            repeated = message.dup and present
            if packet is not None and not repeated and packet.row <= self._before_attempt:
                # An equal message from before, whose packet id is in use again.
                packet = None
        is_new = packet is None
        if packet is None:
            packet = packets.add(message.packet_id, digest)
        else:
            _log.info(
                "packet %s was delivered again by the broker; it is recorded already",
                message.packet_id,
                extra={"action": "redelivery_recognised"},
            )
            self._notes.redelivered(queries.request_of(transaction, packet.row), message.packet_id)
        self._acknowledgements.recorded(message, packet)
        return is_new, packet

    def placed(self, packet: Packet, session: int | None, delivery: int) -> None:
        """Record the delivery that a packet of *session* became."""
        packets = self._packets.get(session or 0)
        if packets is not None:
            packets.placed(packet, delivery)

    def _of_session(self, transaction: Transaction, session: int) -> Packets:
        """Return what redeliveries in a session are compared with, read from the journal if need be."""
        if session not in self._packets:
            after = queries.read_up_to(transaction, session)
            unread = queries.newest_packets(transaction, session=session, after=after)
            recent = queries.last_packets(transaction, session=session, limit=self._limit)
            self._packets[session] = Packets(
                session,
                after,
                (Packet(*row) for row in unread),
                (Packet(*row) for row in recent),
                self._limit,
            )
        return self._packets[session]
