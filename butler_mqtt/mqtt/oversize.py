"""
Packets that are larger than what we asked for: cut short before anybody holds them.

MQTT 3.1.1 has no way to ask for a limit, and not every broker of MQTT 5 keeps
to it. Of a PUBLISH the topic, the packet id and the properties go on, with so
much of the payload that it is refused as too large in the ordinary way; the
rest is read and dropped in pieces.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from butler_mqtt.mqtt.properties import variable_length
from butler_mqtt.mqtt.publish_packet import PUBLISH

#: Bytes allowed for everything in front of a payload: topic, Response Topic, Correlation Data and User
#: Properties, each 65,535 at most.
HEADER_ROOM = 1 << 18
#: The largest packet that MQTT knows, in bytes (5.0, 2.1.4).
MAX_PACKET = 268_435_460

_NAMES = {
    1: "CONNECT",
    2: "CONNACK",
    4: "PUBACK",
    5: "PUBREC",
    6: "PUBREL",
    7: "PUBCOMP",
    8: "SUBSCRIBE",
    9: "SUBACK",
    10: "UNSUBSCRIBE",
    11: "UNSUBACK",
    12: "PINGREQ",
    13: "PINGRESP",
    14: "DISCONNECT",
    15: "AUTH",
}


class ProtocolError(OSError):
    """The broker sent what the protocol does not allow; the connection has to be closed."""


@dataclass(frozen=True, slots=True)
class PacketLimit:
    """
    How large packets of the broker may be.

    `payload` is in bytes, `is_v5` tells whether packets have properties.
    """

    payload: int
    is_v5: bool

    @property
    def packet(self) -> int:
        """Give the largest packet in bytes, as in the property Maximum Packet Size."""
        return min(self.payload + HEADER_ROOM, MAX_PACKET)


class PacketFilter:
    """
    Passes the bytes of a connection on, packets that are too large cut short.

    `starts` has the places in what was passed on, counted from the beginning
    of the connection, where the next packets begin, the first of them where
    the reader is or behind; the reader takes out what it has passed.
    """

    def __init__(self, limit: PacketLimit) -> None:
        self._limit = limit
        self._largest = limit.packet
        self.starts: deque[int] = deque([0])
        self._passed = 0
        #: The beginning of a packet whose size is not known yet.
        self._head = b""
        #: Bytes of the present packet still to be passed on, and after them to be dropped.
        self._left = 0
        self._drop = 0

    def feed(self, data: bytes) -> bytes:
        """
        Take what was read from the connection and give what of it goes on.

        Raises:
            ProtocolError: A packet other than a PUBLISH is too large.
        """
        if self._head:
            data, self._head = self._head + data, b""
        # Nearly always everything is small, and goes on as it is.
        if not self._drop and self._whole(data):
            return data
        pieces: list[bytes] = []
        # What lies between the two goes on as it is; `shift` leads from places in it to those in `starts`.
        begin = position = 0
        shift, end = self._passed, len(data)
        while position < end:
            if self._left:
                step = min(self._left, end - position)
                position += step
                self._left -= step
                if not self._left:
                    self.starts.append(shift + position)
            elif self._drop:
                step = min(self._drop, end - position)
                pieces.append(data[begin:position])
                self._drop -= step
                shift -= step
                begin = position = position + step
            else:
                length, body = _remaining(data, position)
                if 0 <= length <= self._largest - (body - position):
                    self._left = body - position + length
                    continue
                pieces.append(data[begin:position])
                head, after = (b"", -1) if length < 0 else self._cut(data, position, body, length)
                if after < 0:
                    self._head = data[position:]
                    begin = end
                    break
                pieces.append(head)
                shift += len(head) - (after - position)
                begin = position = after
        passed = b"".join([*pieces, data[begin:end]]) if pieces else data
        self._passed += len(passed)
        return passed

    def _whole(self, data: bytes) -> bool:
        """Take note of the packets in *data*; False when there is one that may not go on as it is."""
        end, largest, position = len(data), self._largest, self._left
        starts = [position] if 0 < position <= end else []
        while position < end:
            start = position
            # The remaining length (MQTT 5.0, 2.1.4): seven bits a byte, least first.
            if start + 1 < end and data[start + 1] < 0x80:
                position += 2 + data[start + 1]
            elif start + 2 < end and data[start + 2] < 0x80:
                position += 3 + (data[start + 1] & 0x7F | data[start + 2] << 7)
            else:
                length, body = _remaining(data, start)
                if not 0 <= length <= largest - (body - start):
                    return False
                position = body + length
            if position - start > largest:
                return False
            if position <= end:
                starts.append(position)
        passed = self._passed
        self.starts.extend([passed + start for start in starts])
        self._passed = passed + end
        self._left = position - end
        return True

    def _cut(self, data: bytes, start: int, body: int, length: int) -> tuple[bytes, int]:
        """
        Cut a packet short whose body begins at *body*.

        Returns:
            What stands for everything in front of the payload, and the place behind
            it; a negative place when more has to be read first.
        """
        first = data[start]
        if first & 0xF0 != PUBLISH:
            name = _NAMES.get(first >> 4, "packet of an unknown kind")
            raise ProtocolError(f"the broker sent a {name} of {length} bytes")
        if len(data) < body + 2:
            return b"", -1
        after = body + 2 + int.from_bytes(data[body : body + 2], "big") + (2 if first & 0x06 else 0)
        head = data[body:after]
        if self._limit.is_v5:
            size, behind = _remaining(data, after - 1) if len(data) >= after else (-1, 0)
            if size < 0:
                return b"", -1
            if behind + size - body <= HEADER_ROOM:
                after = behind + size
                head = data[body:after]
            else:
                head += b"\0"  # without properties of such a size; it is refused all the same
                after = behind
        if len(data) < after:
            return b"", -1
        self._left = self._limit.payload + 1
        self._drop = body + length - after - self._left
        return data[start : start + 1] + variable_length(len(head) + self._left) + head, after


def _remaining(data: bytes, start: int) -> tuple[int, int]:
    """
    Read the variable byte integer behind the byte at *start* (MQTT 5.0, 1.5.5).

    Returns:
        The number and the place behind it; a negative number when it is not
        whole yet. One that is too long is 0: the client library refuses it.
    """
    number = 0
    for place in range(start + 1, start + 5):
        if place >= len(data):
            return -1, place
        byte = data[place]
        number |= (byte & 0x7F) << 7 * (place - start - 1)
        if byte < 0x80:
            return number, place + 1
    return 0, start + 5
