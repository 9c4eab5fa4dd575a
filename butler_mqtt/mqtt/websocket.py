"""MQTT over websockets: a stream of bytes over a connected socket (RFC 6455; MQTT 5.0, 6)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request, TextMessage
from wsproto.utilities import ProtocolError

from butler_mqtt.mqtt.packet_socket import LATER
from butler_mqtt.mqtt.websocket_place import Place

#: Seconds for the whole handshake.
HANDSHAKE_SECONDS = 10.0
_READ = 1 << 16


class WebSocketError(OSError):
    """The other side does not speak websockets, or not with us."""


class WebSocket:
    """
    Wraps a connected socket; messages of any length pass in pieces, as they come.

    Args:
        sock: TCP or TLS.
        place: What is asked for.
    """

    def __init__(self, sock: socket.socket, place: Place) -> None:
        self._sock = sock
        self._place = place
        self._protocol = WSConnection(ConnectionType.CLIENT)
        #: Bytes that have to leave before anything else, and how many of the caller's they stand for.
        self._unsent = b""
        self._taken = 0
        self._early = b""
        self._closed = False

    def do_handshake(self) -> None:
        """
        Ask for websockets and wait for the answer; with TLS that comes first.

        Raises:
            WebSocketError: The answer is another one.
            OSError: The connection is gone.
        """
        place = self._place
        origin = f"{'https' if place.secure else 'http'}://{place.authority}"
        request = Request(
            host=place.authority,
            target=place.path,
            subprotocols=["mqtt"],
            extra_headers=[(b"Origin", origin.encode())],
        )
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.do_handshake()
        try:
            self._sock.sendall(self._protocol.send(request))
            while True:
                data = self._sock.recv(_READ)
                if not data or time.monotonic() > deadline:
                    raise WebSocketError("WebSocket handshake error: no answer")
                self._protocol.receive_data(data)
                for event in self._protocol.events():
                    if not isinstance(event, AcceptConnection):
                        raise WebSocketError(f"WebSocket handshake error: {_status(event)}")
                    self._early = self._received()
                    return
        except (ProtocolError, ConnectionError) as error:
            raise WebSocketError(f"WebSocket handshake error: {error}") from error

    def recv(self, length: int) -> bytes:
        """
        Return what came, nothing at the end.

        Raises:
            BlockingIOError: Nothing for the caller came yet.
            WebSocketError: What came is no websocket.
        """
        if self._early:
            data, self._early = self._early, b""
            return data
        if self._closed:
            return b""
        data = self._sock.recv(min(length, _READ))
        if not data:
            return b""
        try:
            self._protocol.receive_data(data)
            data = self._received()
        except ProtocolError as error:
            raise WebSocketError(f"what the broker sent is no websocket: {error}") from error
        if not data and not self._closed:
            raise BlockingIOError
        return data

    def send(self, data: bytes | bytearray) -> int:
        """
        Send *data* as one message.

        Raises:
            BlockingIOError: Not whole yet; call again with the same bytes, others may follow them.
            WebSocketError: The other side has closed it.
        """
        if not self._taken:
            try:
                self._unsent += self._protocol.send(BytesMessage(data=bytes(data)))
            except ProtocolError as error:
                raise WebSocketError(f"the broker has closed the websocket: {error}") from error
            self._taken = len(data)
        self._flush()
        if self._unsent:
            raise BlockingIOError
        taken, self._taken = self._taken, 0
        return taken

    def pending(self) -> int:
        """Count the bytes that can be read although the system's socket shows none."""
        below = getattr(self._sock, "pending", None)
        return len(self._early) + (below() if below is not None else 0)

    def fileno(self) -> int:
        """Return the number for poll and select."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Set whether calls wait."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long each call waits."""
        self._sock.settimeout(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _received(self) -> bytes:
        data = bytearray()
        for event in self._protocol.events():
            if isinstance(event, BytesMessage):
                data += event.data
            elif isinstance(event, Ping):
                self._unsent += self._protocol.send(event.response())
                with contextlib.suppress(*LATER):
                    self._flush()
            elif isinstance(event, TextMessage):
                raise WebSocketError("the broker sent text over the websocket, MQTT is binary")
            elif isinstance(event, CloseConnection):
                self._closed = True
        return bytes(data)

    def _flush(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]


def _status(event: object) -> str:
    status = getattr(event, "status_code", None)
    return f"the answer is HTTP {status}" if status is not None else "no answer"
