"""A broker that acts as if it had read no acknowledgement: what a slow one does by chance."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

from tests.acceptance.sender import START

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ = 0x10, 0x30, 0x40, 0x80, 0xC0
#: Sent before the first is acknowledged: MQTT 5's Receive Maximum as the daemon has it by default.
UNDER_WAY = 200


class ForgetfulBroker:
    """
    Delivers *payloads* at QoS 1 on each connection that subscribes, from the second one on with DUP.

    `acknowledged` are the packet ids acknowledged on the last such connection,
    in order. PINGREQs are counted and get no answer. A context manager.
    """

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._payloads = payloads
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.acknowledged: list[int] = []
        self.pings = 0
        self._sessions: set[bytes] = set()
        self._subscribed = 0
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._thread.join(5)

    def cut(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, IndexError), connection.makefile("rb") as stream:
            waiting: list[bytes] = []
            while header := stream.read(1)[0]:
                body = stream.read(_length(stream.read))
                kind = header & 0xF0
                if kind == CONNECT:
                    name = _client_id(body)
                    connection.sendall(bytes([0x20, 3, int(name in self._sessions), 0, 0]))
                    self._sessions.add(name)
                elif kind == SUBSCRIBE:
                    connection.sendall(bytes([0x90, 5, *body[:2], 0, 1, 0]))
                    self.acknowledged = []
                    self._subscribed += 1
                    waiting = self._packets(dup=self._subscribed > 1)
                    connection.sendall(b"".join(waiting[:UNDER_WAY]))
                    del waiting[:UNDER_WAY]
                elif kind == PUBACK:
                    self.acknowledged.append(int.from_bytes(body[:2], "big"))
                    if waiting:
                        connection.sendall(waiting.pop(0))
                elif kind == PUBLISH and header & 0x06:
                    begin = 2 + int.from_bytes(body[:2], "big")
                    connection.sendall(bytes([PUBACK, 2, *body[begin : begin + 2]]))
                elif kind == PINGREQ:
                    self.pings += 1

    def _packets(self, *, dup: bool) -> list[bytes]:
        topic = len(START).to_bytes(2, "big") + START.encode()
        packets = []
        for number, payload in enumerate(self._payloads, 1):
            body = topic + number.to_bytes(2, "big") + b"\0" + payload
            packets.append(bytes([PUBLISH | 0x02 | (0x08 if dup else 0)]) + _encoded(len(body)) + body)
        return packets


def _client_id(body: bytes) -> bytes:
    """Read the client id out of an MQTT 5 CONNECT (3.1.2 and 3.1.3)."""
    # Protocol name, version, flags and keep-alive are 10 bytes; the properties of ours are short.
    begin = 11 + body[10]
    length = int.from_bytes(body[begin : begin + 2], "big")
    return body[begin + 2 : begin + 2 + length]


def _length(read: Callable[[int], bytes]) -> int:
    length = shift = 0
    while True:
        byte = read(1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length


def _encoded(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, byte = length >> 7, length & 0x7F
        encoded.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
