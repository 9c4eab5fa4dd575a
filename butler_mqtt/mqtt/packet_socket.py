"""
The socket under paho: cuts packets that are too large, holds messages up, sends packets of ours between.

paho gets it through the one public place where it asks for a socket: the TLS
context, which it is given with and without TLS (`SocketContext`).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from butler_mqtt.mqtt.connack import ConnackForm
from butler_mqtt.mqtt.oversize import (
    PUBLISH,
    PacketFilter,
    PacketLimit,
    ProtocolError,
    remaining_length,
    topic_of,
)
from butler_mqtt.mqtt.websocket_place import Place

if TYPE_CHECKING:
    from butler_mqtt.mqtt.websocket import WebSocket

#: Bytes asked of the system at once; paho asks for a byte or two at a time.
READ_AHEAD = 1 << 16
#: Nothing can be read, or written, now.
LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class PacketSocket:
    """
    Wraps the connected socket *sock*: TCP, TLS or websocket.

    Reading and writing are for one thread, paho's network loop.

    Args:
        sock: What is wrapped.
        limit: How large packets may be that come in.
    """

    def __init__(self, sock: socket.socket | WebSocket, limit: PacketLimit) -> None:
        self._sock = sock
        self._packets = PacketFilter(limit)
        self._form = ConnackForm(is_v5=limit.is_v5)
        self._read = b""
        self._position = 0
        #: The end of the packet that is being read, counted like `_position`.
        self._end = 0
        #: Asked before each PUBLISH, with its topic. While it says no, that stays here, and what follows
        #: with the system and the broker. All else goes on, so that a broker which keeps to Receive Maximum
        #: is always heard.
        self.may_pass: Callable[[bytes], bool] = _everything
        #: The rest of a packet of ours, which has to leave before anything of paho.
        self._rest = b""
        #: Whether the system took less than it was given: poll for room before the next write.
        self.blocked = False
        #: What the broker did that the protocol does not allow; nothing is read any more.
        self.problem: ProtocolError | None = None

    @property
    def unsent(self) -> bool:
        """Whether a part of a packet of ours has not left yet."""
        return bool(self._rest)

    @property
    def held_up(self) -> bool:
        """Whether nothing can be read before `may_pass` says yes."""
        at = self._position
        if at != self._end or at == len(self._read) or self._read[at] & 0xF0 != PUBLISH:
            return False
        _, body = remaining_length(self._read, at)
        return not self.may_pass(topic_of(self._read, body))

    def do_handshake(self) -> None:
        """Shake hands where TLS or websockets need it; close the socket if that fails: paho does not."""
        try:
            # A plain socket has none.
            shake_hands = getattr(self._sock, "do_handshake", None)
            if shake_hands is not None:
                shake_hands()
        except BaseException:
            self._sock.close()
            raise

    def recv(self, length: int) -> bytes:
        """
        Return at most *length* bytes, none at the end of the stream.

        Raises:
            BlockingIOError: Nothing came, or only what is dropped, or a message is held up.
            ProtocolError: See `problem`.
        """
        if self._position == len(self._read) and not self._read_more():
            return b""
        if self._position == self._end:
            if self.held_up:
                raise BlockingIOError
            remaining, body = remaining_length(self._read, self._position)
            self._end = body + remaining
        part = self._read[self._position : self._position + length]
        self._position += len(part)
        return part

    def pending(self) -> int:
        """Count the bytes that can be read although the system's socket shows none."""
        below = getattr(self._sock, "pending", None)
        return len(self._read) - self._position + (below() if below is not None else 0)

    def send(self, data: bytes | bytearray) -> int:
        """
        Send *data* and return how many bytes of it were taken.

        Raises:
            BlockingIOError: None can be taken now; also ssl's errors for this.
        """
        try:
            self._send_rest()
            taken: int = self._sock.send(data)
        except LATER:
            self.blocked = True
            raise
        self.blocked = False
        return taken

    def insert(self, packet: bytes) -> None:
        """
        Send a whole packet of ours; only between two packets of paho, and not while `blocked`.

        What is not taken at once leaves with `flush`, or before the next bytes of paho.

        Raises:
            OSError: The connection is gone.
        """
        self._rest += packet
        self.flush()

    def flush(self) -> None:
        """Send what is left of a packet of ours, as far as it goes; raises OSError like `insert`."""
        try:
            self._send_rest()
        except LATER:
            self.blocked = True
        else:
            self.blocked = False

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def fileno(self) -> int:
        """Return the number for poll and select."""
        number: int = self._sock.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        """Set whether calls wait; paho sets False."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long each call waits; paho does before the handshake."""
        self._sock.settimeout(seconds)

    def _read_more(self) -> bool:
        """Read what is there; False at the end of the stream."""
        if self.problem is not None:
            raise self.problem
        self._end -= len(self._read)
        self._read, self._position = b"", 0
        data = self._sock.recv(READ_AHEAD)
        if not data:
            return False
        try:
            if not self._form.known:
                data = self._form.feed(data)
            self._read = self._packets.feed(data)
        except ProtocolError as error:
            self.problem = error
            raise
        if not self._read:
            raise BlockingIOError
        return True

    def _send_rest(self) -> None:
        while self._rest:
            self._rest = self._rest[self._sock.send(self._rest) :]


def _everything(_topic: bytes) -> bool:
    return True


class SocketContext(ssl.SSLContext):
    """
    For paho's `tls_set_context`: makes a `PacketSocket` over TCP, TLS or websockets.

    Args:
        limit: How large packets may be that come in.
        tls: With TLS: its context.
        place: With websockets: what is asked for.
    """

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make a context; paho reads no setting of it."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, limit: PacketLimit, *, tls: ssl.SSLContext | None = None, place: Place | None = None):
        super().__init__()
        self._limit = limit
        self._tls = tls
        self._place = place

    def wrap_socket(  # type: ignore[override] # the signature of the base; paho needs no more of it than this
        self, sock: socket.socket, *, server_hostname: str | None = None, **_: object
    ) -> PacketSocket:
        """Wrap the connected *sock*; the handshake is left to `PacketSocket.do_handshake`."""
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        if self._place is None:
            return PacketSocket(sock, self._limit)
        # wsproto is a tenth of what the daemon loads at its start, and seldom needed.
        from butler_mqtt.mqtt.websocket import WebSocket  # noqa: PLC0415

        return PacketSocket(WebSocket(sock, self._place), self._limit)
