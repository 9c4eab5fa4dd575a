"""
What is changed of the packets of the broker before the client library reads them.

Packets that are larger than what we asked for are cut short before anybody holds
them: MQTT 3.1.1 cannot ask for a limit, and not every broker of MQTT 5 keeps
to it. Of a PUBLISH the topic, the packet id and the properties go on, with so
much of the payload that it is refused as too large like any other; the
rest is read and dropped in pieces.

The properties of a PUBLISH go on as the beginning of its payload, for
`publish_content` to read: paho ends the connection on any that it cannot read,
U+FEFF in a text among them, which MQTT allows (5.0, 1.5.4). The broker would
deliver such a message again on each connection, and nothing behind it would arrive.
For the same reason a topic that is no UTF-8 goes on with U+FFFD in place of what is none.
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

#: The length of no properties.
NO_PROPERTIES = b"\0"

#: The longest text in a packet, in bytes.
_MAX_TEXT = 65535
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
    Passes the bytes of a connection on, each PUBLISH as its content can be read, and none too large.

    A packet begins to go on when its length is known, a PUBLISH when its topic and packet id are.
    """

    def __init__(self, limit: PacketLimit) -> None:
        self._limit = limit
        self._largest = limit.packet
        #: Stands for the properties, which follow it: there are none. MQTT 3.1.1 has no place for them.
        self._without = NO_PROPERTIES if limit.is_v5 else b""
        #: The beginning of a packet whose size is not known yet.
        self._head = b""
        #: Bytes of the present packet still to be passed on, and after them to be dropped.
        self._left = 0
        self._drop = 0

    def feed(self, data: bytes) -> bytes:
        """
        Take what was read from the connection and return what of it goes on.

        Raises:
            ProtocolError: A packet other than a PUBLISH is too large, or a PUBLISH ends within its topic.
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
                small = 0 <= length <= self._largest - (body - position)
                # A PUBLISH of no length is left to the client library, which refuses it.
                if small and (data[position] & 0xF0 != PUBLISH or not length):
                    self._left = body - position + length
                    continue
                pieces.append(data[begin:position])
                head, after = b"", -1
                if length >= 0:
                    change = self._readable if small else self._cut
                    head, after = change(data, position, body, length)
                if after < 0:
                    self._head = data[position:]
                    begin = end
                    break
                pieces.append(head)
                begin = position = after
        return b"".join([*pieces, data[begin:end]]) if pieces else data

    def _readable(self, data: bytes, start: int, body: int, length: int) -> tuple[bytes, int]:
        """Change the head of a PUBLISH that is not too large; takes and returns the same as `_cut`."""
        head, after = self._topic_and_id(data, start, body, length)
        if after >= 0:
            self._left = body + length - after
            head = data[start : start + 1] + variable_length(len(head) + self._left) + head
        return head, after

    def _topic_and_id(self, data: bytes, start: int, body: int, length: int) -> tuple[bytes, int]:
        """Return what stands for everything in front of the properties, and the place of these as `_cut`."""
        if len(data) < body + 2:
            return b"", -1
        end = body + 2 + int.from_bytes(data[body : body + 2], "big")
        after = end + 2 if data[start] & 0x06 else end
        if after > body + length:
            raise ProtocolError(f"the broker sent a PUBLISH of {length} bytes that ends within its topic")
        if len(data) < after:
            return b"", -1
        topic = data[body + 2 : end]
        if topic.isascii():
            return data[body:after] + self._without, after
        # U+FFFD can be longer than what it stands for.
        sound = topic.decode(errors="replace").encode()[:_MAX_TEXT].decode(errors="ignore").encode()
        return len(sound).to_bytes(2, "big") + sound + data[end:after] + self._without, after

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
        head, after = self._topic_and_id(data, start, body, length)
        if after < 0:
            return b"", -1
        if self._limit.is_v5:
            size, behind = remaining_length(data, after - 1)
            if size < 0:
                return b"", -1
            if behind + size - body <= HEADER_ROOM:
                if len(data) < behind + size:
                    return b"", -1
                head += data[after : behind + size]
                after = behind + size
            else:
                head += NO_PROPERTIES  # without properties of such a size; it is refused all the same
                after = behind
        self._left = self._limit.payload + 1
        self._drop = body + length - after - self._left
        return data[start : start + 1] + variable_length(len(head) + self._left) + head, after


def topic_of(data: bytes, body: int) -> bytes:
    """Return the topic, as UTF-8, of the PUBLISH whose variable header begins at *body*."""
    start = body + 2
    return data[start : start + int.from_bytes(data[body:start], "big")]


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
