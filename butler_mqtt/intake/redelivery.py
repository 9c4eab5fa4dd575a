"""
What the broker may deliver again although it is recorded: the rows that a repeated packet is compared with.

A broker sends a message again as long as it has not read its PUBACK, and that
may be long after ours was sent: its socket buffers it, and dies with the
connection. So a row is compared until an answer to a later PINGREQ proves that
the broker has read what came before.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from butler_mqtt.domain.model import Message

#: Acknowledgements of one connection that may wait for a proof; as many as there are packet ids.
MAX_WAITING = 65_535


@dataclass(slots=True, eq=False)
class Packet:
    """A message as it was recorded; `row` is its delivery, 0 until that is known."""

    packet_id: int
    digest: bytes
    row: int = 0


class Packets:
    """
    The packets of one session with the broker that a redelivery is compared with.

    These are the newest of each packet id whose PUBACK the broker is not known
    to have read, and in any case the last *limit*: a broker that was killed may
    go on from an older store. A packet id that is used again replaces the row
    before, since the broker cannot have used it without the PUBACK.

    Args:
        session: Row of the session.
        read_up_to: Deliveries up to this row are proved to be acknowledged.
        unread: Those behind it, one a packet id at most.
        recent: The last of the session, proved or not, oldest first.
        limit: How many of the last are compared in any case.
    """

    def __init__(
        self, session: int, read_up_to: int, unread: Iterable[Packet], recent: Iterable[Packet], limit: int
    ) -> None:
        self.session = session
        self.read_up_to = read_up_to
        self._unread = {packet.packet_id: packet for packet in unread}
        self._recent = deque(recent, maxlen=limit)
        rows = [packet.row for packet in (*self._unread.values(), *self._recent)]
        self._newest = max([read_up_to, *rows])

    def __len__(self) -> int:
        return len(self._unread)

    def add(self, packet_id: int, digest: bytes) -> Packet:
        """Remember a message that is recorded now; `placed` adds its row."""
        packet = Packet(packet_id, digest)
        self._unread[packet_id] = packet
        self._recent.append(packet)
        return packet

    def placed(self, packet: Packet, row: int) -> None:
        """Record the delivery that a message became."""
        packet.row = row
        self._newest = max(self._newest, row)

    def find(self, packet_id: int, digest: bytes) -> Packet | None:
        """Return the recorded message that is equal and has this packet id; it may come again and again."""
        unread = self._unread.get(packet_id)
        if unread is not None and unread.digest == digest:
            return unread
        for packet in reversed(self._recent):
            if packet.packet_id == packet_id and packet.digest == digest:
                # The broker still has it, or has it again: it must stay until the proof.
                self._unread.setdefault(packet_id, packet)
                return packet
        return None

    def awaits(self, packet_id: int, row: int) -> bool:
        """Return whether the PUBACK of this delivery is not known to have been read."""
        packet = self._unread.get(packet_id)
        return packet is not None and packet.row == row

    def read(self, packets: Iterable[Packet]) -> None:
        """Apply the proof that the broker has read the PUBACKs of *packets*."""
        for packet in packets:
            if packet.row and self.awaits(packet.packet_id, packet.row):
                del self._unread[packet.packet_id]
        oldest = min((packet.row for packet in self._unread.values()), default=self._newest + 1)
        self.read_up_to = max(self.read_up_to, oldest - 1)


class Acknowledgements:
    """
    What is recorded and not acknowledged yet, and the PUBACKs of the newest connection that wait for a proof.

    Args:
        generation: The connection.
    """

    def __init__(self, generation: int = 0) -> None:
        #: By connection and packet id.
        self._recorded: dict[tuple[int, int], Packet] = {}
        self._generation = generation
        #: In the order in which they went out.
        self._sent: deque[Packet | None] = deque(maxlen=MAX_WAITING)
        self._count = 0

    def connection_began(self, generation: int) -> None:
        """Begin to count anew, unless it is the connection that is known."""
        if generation != self._generation:
            self._generation = generation
            self._sent.clear()
            self._count = 0

    def recorded(self, message: Message, packet: Packet) -> None:
        """Remember that *message* is *packet*, until it is acknowledged."""
        self._recorded[message.generation, message.packet_id] = packet

    def forget_recorded(self) -> None:
        """Forget what is not acknowledged: the turn failed that would have recorded it."""
        self._recorded.clear()

    def sent(self, messages: Iterable[Message]) -> None:
        """Add those of *messages*, in this order."""
        for message in messages:
            if not message.packet_id:
                continue
            # None stands for a message that has no row.
            packet = self._recorded.pop((message.generation, message.packet_id), None)
            if message.generation == self._generation:
                # Beyond the most the oldest are forgotten: their rows are compared until the packet id is
                # used again.
                self._sent.append(packet)
                self._count += 1

    def read(self, generation: int, count: int) -> list[Packet]:
        """Return the packets among the first *count* of a connection that waited for a proof."""
        if generation != self._generation:
            return []
        first = self._count - len(self._sent)
        taken = [self._sent.popleft() for _ in range(min(count - first, len(self._sent)))]
        return [packet for packet in taken if packet is not None]


def digest_of(message: Message) -> bytes:
    """Return what is equal for two deliveries of one message, and hardly ever for two messages."""
    properties = message.properties.encode()
    length = len(properties).to_bytes(4, "big")
    content = message.topic.encode() + length + properties + message.payload
    # SHA-256 goes through OpenSSL, whose call takes longer than hashing something this short.
    return hashlib.blake2b(content, digest_size=16).digest()
