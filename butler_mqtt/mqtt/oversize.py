"""
Packets that are larger than what we asked for: cut short before anybody holds them.

MQTT 3.1.1 cannot ask for a limit, and not every broker of MQTT 5 keeps
to it. Of a PUBLISH the topic, the packet id and the properties go on, with so
much of the payload that it is refused as too large like any other; the
rest is read and dropped in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

from butler_mqtt.mqtt.properties import variable_length

#: The first four bits of the packet.
PUBLISH = 0x30
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
        """Return the largest packet in bytes, as in the property Maximum Packet Size."""
        return min(self.payload + HEADER_ROOM, MAX_PACKET)


class PacketFilter:
    """
    Passes the bytes of a connection on, with packets that are too large cut short.

    A packet begins to go on when its length is known, a PUBLISH when its topic is.
    """

    def __init__(self, limit: PacketLimit) -> None:
        self._limit = limit
        self._largest = limit.packet
        #: The beginning of a packet whose size is not known yet.
        self._head = b""
        #: Bytes of the present packet still to be passed on, and after them to be dropped.
        self._left = 0
        self._drop = 0

    def feed(self, data: bytes) -> bytes:
        """
        Take what was read from the connection and return what of it goes on.

        Raises:
            ProtocolError: A packet other than a PUBLISH is too large.
        """
        if self._head:
            data, self._head = self._head + data, b""
        pieces: list[bytes] = []
        # What lies between the two goes on as it is.
        begin = position = 0
        end = len(data)
        while position < end:
            if self._left:
                step = min(self._left, end - position)
                position += step
                self._left -= step
            elif self._drop:
                pieces.append(data[begin:position])
                step = min(self._drop, end - position)
                self._drop -= step
                begin = position = position + step
            else:
                length, body = remaining_length(data, position)
                if 0 <= length <= self._largest - (body - position):
                    if body + length > end and not _shows_topic(data, position, body, length):
                        pieces.append(data[begin:position])
                        self._head = data[position:]
                        begin = end
                        break
                    self._left = body - position + length
                    continue
                pieces.append(data[begin:position])
                head, after = (b"", -1) if length < 0 else self._cut(data, position, body, length)
                if after < 0:
                    self._head = data[position:]
                    begin = end
                    break
                pieces.append(head)
                begin = position = after
        return b"".join([*pieces, data[begin:end]]) if pieces else data

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
            size, behind = remaining_length(data, after - 1) if len(data) >= after else (-1, 0)
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


def topic_of(data: bytes, body: int) -> bytes:
    """Return the topic, as UTF-8, of the PUBLISH whose variable header begins at *body*."""
    start = body + 2
    return data[start : start + int.from_bytes(data[body:start], "big")]


def _shows_topic(data: bytes, start: int, body: int, length: int) -> bool:
    """Return whether a packet that is not whole yet is no PUBLISH, or its topic is whole."""
    if data[start] & 0xF0 != PUBLISH:
        return True
    needed = 2 + int.from_bytes(data[body : body + 2], "big") if len(data) >= body + 2 else 2
    return len(data) >= body + min(needed, length)


def remaining_length(data: bytes, start: int) -> tuple[int, int]:
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
