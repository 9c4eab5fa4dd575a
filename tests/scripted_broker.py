"""
A broker that a test scripts, for what no real one can be made to do.

    with ScriptedBroker(hangs_up_on=lambda packet: packet.retain) as broker: ...

Each case is an argument; without any it accepts everything and grants every
subscription at QoS 1. It hands nothing from one client to another: `pushes` is
what a subscriber gets.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Self

from butler_mqtt import settings

CONNECT, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 5, 6, 8, 12, 14


@dataclass(frozen=True, slots=True)
class Packet:
    """What a client sent; `topics` are the filters of a SUBSCRIBE, `will` and `is_v5` stand in a CONNECT."""

    kind: int
    body: bytes
    client: str = ""
    topic: str = ""
    topics: tuple[str, ...] = ()
    payload: bytes = b""
    packet_id: bytes = b""
    retain: bool = False
    will: str = ""
    is_v5: bool = True


#: The client is gone, or what it sent is no MQTT.
_ENDS = (OSError, EOFError, IndexError, UnicodeDecodeError)

Rule = Callable[[Packet], bool]
Answer = Callable[[bytes], bytes]


def nothing(_packet: Packet) -> bool:
    return False


class ScriptedBroker:
    """
    Serves each connection on a thread of its own; a context manager.

    Args:
        version: Of MQTT in the settings it gives, "5" or "3.1.1"; it speaks what the client speaks.
        connack: Reason code of each CONNACK, or what gives it for a CONNECT.
        connack_properties: Of MQTT 5, as bytes without their length.
        suback: Reason codes of each SUBACK; by default QoS 1 for every topic.
        hangs_up_on: The packets that it answers by closing the connection.
        disconnect_reason: With MQTT 5, sent in a DISCONNECT before it closes.
        acknowledges: The publications that get a PUBACK.
        pushes: Pieces of bytes sent to every subscriber after its SUBACK, read again for each.
        answers: By kind of packet: what is sent instead of the ordinary, b"" closes.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        version: str = "5",
        connack: int | Callable[[Packet], int] = 0,
        connack_properties: bytes = b"",
        suback: tuple[int, ...] = (),
        hangs_up_on: Rule = nothing,
        disconnect_reason: int | None = None,
        acknowledges: Rule = lambda _packet: True,
        pushes: Callable[[], Iterable[bytes]] = tuple,
        answers: Mapping[int, Answer] | None = None,
    ) -> None:
        self.packets: list[Packet] = []
        self._version = version
        self._connack = connack
        self._connack_properties = connack_properties
        self._suback = suback
        self._hangs_up_on = hangs_up_on
        self._disconnect_reason = disconnect_reason
        self._acknowledges = acknowledges
        self._pushes = pushes
        self._answers = answers or {}
        self._server = socket.create_server((self.host, 0))
        self.port: int = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join(10)
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def settings(self, **changes: object) -> settings.MqttSettings:
        """Return settings that connect here; *changes* are further fields of `settings.Mqtt`."""
        fields = {"broker_host": self.host, "broker_port": self.port, "protocol_version": self._version}
        return settings.MqttSettings(**{**fields, **changes})  # type: ignore[arg-type] # a test names fields it knows

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def seen(self, kind: int, topic: str = "") -> list[Packet]:
        """Return the packets of a kind, of a topic if one is given."""
        return [
            packet for packet in list(self.packets) if packet.kind == kind and topic in ("", packet.topic)
        ]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._sockets.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        first = Packet(CONNECT, b"")
        with connection, contextlib.suppress(*_ENDS), connection.makefile("rb") as stream:
            while True:
                packet = _read(stream, first)
                first = packet if packet.kind == CONNECT else first
                self.packets.append(packet)
                if packet.kind == DISCONNECT:
                    return
                if self._hangs_up_on(packet):
                    if self._disconnect_reason is not None:
                        connection.sendall(bytes([0xE0, 2, self._disconnect_reason, 0]))
                    return
                answer = self._answer(packet, is_v5=first.is_v5)
                if answer is None:
                    return
                connection.sendall(answer)
                if packet.kind == SUBSCRIBE:
                    for piece in self._pushes():
                        connection.sendall(piece)

    def _answer(self, packet: Packet, *, is_v5: bool) -> bytes | None:
        """Return what is sent for a packet; None closes the connection."""
        if packet.kind in self._answers:
            return self._answers[packet.kind](packet.body) or None
        if packet.kind == CONNECT:
            of_v5 = bytes([len(self._connack_properties)]) + self._connack_properties
            code = self._connack(packet) if callable(self._connack) else self._connack
            body = bytes([0, code]) + (of_v5 if is_v5 else b"")
            return bytes([0x20, len(body)]) + body
        if packet.kind == SUBSCRIBE:
            granted = bytes(self._suback[: len(packet.topics)] or [1] * len(packet.topics))
            body = packet.packet_id + (b"\0" if is_v5 else b"") + granted
            return bytes([0x90, len(body)]) + body
        if packet.kind == PUBLISH:
            answered = packet.packet_id and self._acknowledges(packet)
            return b"\x40\x02" + packet.packet_id if answered else b""
        if packet.kind == PUBREC:
            return bytes([PUBREL << 4 | 2, 2]) + packet.packet_id
        return b"\xd0\0" if packet.kind == PINGREQ else b""


def _read(stream: BinaryIO, connect: Packet) -> Packet:
    """Read a packet on the connection that began with *connect*."""
    first = _exactly(stream, 1)[0]
    body = _exactly(stream, _length(stream))
    kind, is_v5, client = first >> 4, connect.is_v5, connect.client
    if kind == CONNECT:
        return _connect(body)
    if kind == SUBSCRIBE:
        position = 2
        if is_v5:
            position += 1 + body[2]  # one byte of length is enough for what we send
        topics = []
        while position < len(body):
            topic, position = _text(body, position)
            topics.append(topic.decode())
            position += 1
        return Packet(kind, body, client, topics=tuple(topics), packet_id=body[:2])
    if kind != PUBLISH:
        return Packet(kind, body, client, packet_id=body[:2])
    name, position = _text(body, 0)
    packet_id = body[position : position + 2] if first & 0x06 else b""
    position += len(packet_id)
    if is_v5:
        length, position = _variable(body, position)
        position += length
    return Packet(
        kind,
        body,
        client,
        topic=name.decode(),
        payload=body[position:],
        packet_id=packet_id,
        retain=bool(first & 1),
    )


def message(
    topic: str, size: int, *, qos: int = 1, is_v5: bool = True, piece: int = 1 << 20
) -> Iterable[bytes]:
    """Return a PUBLISH with packet id 7 and *size* bytes `x` in pieces, so that nobody has to hold it."""
    head = len(topic).to_bytes(2, "big") + topic.encode()
    head += (b"\0\x07" if qos else b"") + (b"\0" if is_v5 else b"")
    yield bytes([PUBLISH << 4 | qos << 1]) + variable_length(len(head) + size) + head
    for start in range(0, size, piece):
        yield b"x" * min(piece, size - start)


def variable_length(number: int) -> bytes:
    """Write a variable byte integer."""
    written = bytearray()
    while number > 0x7F:
        written.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*written, number])


def _connect(body: bytes) -> Packet:
    _, position = _text(body, 0)
    is_v5, flags = body[position] == 5, body[position + 1]
    position += 4
    if is_v5:
        length, position = _variable(body, position)
        position += length
    client, position = _text(body, position)
    will = b""
    if flags & 0x04:
        if is_v5:
            length, position = _variable(body, position)
            position += length
        will, _ = _text(body, position)
    return Packet(CONNECT, body, client.decode(), will=will.decode(), is_v5=is_v5)


def maximum_packet_size(connect: Packet) -> int | None:
    """Read the property Maximum Packet Size of a CONNECT of ours, whose other properties hold no 0x27."""
    found = re.search(rb"\x27(....)", connect.body[:40], re.DOTALL)
    return int.from_bytes(found[1], "big") if found else None


def _text(body: bytes, position: int) -> tuple[bytes, int]:
    end = position + 2 + int.from_bytes(body[position : position + 2], "big")
    return body[position + 2 : end], end


def _variable(body: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = body[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position


def _length(stream: BinaryIO) -> int:
    number = shift = 0
    while True:
        byte = _exactly(stream, 1)[0]
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
