"""
The socket under paho: reads ahead, and sends what was gathered in one piece.

paho reads each packet in three calls and writes each with one. Every such call
gives the interpreter away, and in a busy daemon getting it back takes longer
than the packet itself.

paho gets it through the one public place where it asks for a socket: the TLS
context, which is given to it with and without TLS (`SocketContext`).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Self

from butler_mqtt.mqtt.oversize import PacketFilter, PacketLimit, ProtocolError
from butler_mqtt.mqtt.websocket import LATER, Place, WebSocket

#: Bytes asked of the system at once.
READ_AHEAD = 1 << 16
#: Bytes kept for sending before paho is told to wait.
MAX_UNSENT = 1 << 18


class BufferedSocket:
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
        self._read = b""
        self._position = 0
        #: Bytes handed on since the beginning of the connection, up to `_position`.
        self._consumed = 0
        self._unsent = bytearray()
        self._gathering = False
        #: What the broker did that the protocol does not allow; nothing is read any more.
        self.problem: ProtocolError | None = None

    @property
    def unsent(self) -> bool:
        """Tell whether something waits until the system takes it."""
        return bool(self._unsent)

    @property
    def read_ahead(self) -> int:
        """Count the bytes read that paho has not asked for yet."""
        return len(self._read) - self._position

    def do_handshake(self) -> None:
        """Shake hands, if there is anything to shake; closes the socket when that fails, as paho does not."""
        try:
            if isinstance(self._sock, WebSocket | ssl.SSLSocket):
                self._sock.do_handshake()
        except BaseException:
            self._sock.close()
            raise

    def recv(self, length: int) -> bytes:
        """Give at most *length* bytes, none at the end; raises what the socket raises."""
        if self._position == len(self._read) and not self._more(max(length, READ_AHEAD)):
            return b""
        part = self._read[self._position : self._position + length]
        self.skip(len(part))
        return part

    def fill(self) -> None:
        """Read ahead when nothing is left of what was read; whatever goes wrong, `recv` meets it too."""
        if self._position == len(self._read):
            with contextlib.suppress(OSError):
                self._more(READ_AHEAD)

    def peek(self, kind: int) -> bytes | None:
        """Give the whole packet that comes next, if it is of this *kind* (its first four bits)."""
        starts, start = self._packets.starts, self._position
        while len(starts) > 1 and starts[0] < self._consumed:
            starts.popleft()
        if starts[0] != self._consumed or len(starts) == 1:
            return None
        end = start + starts[1] - starts[0]
        if end > len(self._read) or self._read[start] & 0xF0 != kind:
            return None
        return self._read[start:end]

    def skip(self, length: int) -> None:
        """Drop so many bytes of those read ahead."""
        self._position += length
        self._consumed += length

    def pending(self) -> int:
        """Count the bytes that can be read although the system's socket shows none."""
        below = getattr(self._sock, "pending", None)
        return self.read_ahead + (below() if below is not None else 0)

    def send(self, data: bytes | bytearray) -> int:
        """
        Send *data*, or keep it for `flush` after `gather`; give the bytes taken.

        Raises:
            BlockingIOError: Not now.
        """
        if not self._gathering and not self._unsent:
            taken: int = self._sock.send(data)
            return taken
        if len(self._unsent) > MAX_UNSENT:
            self._flush()
            if len(self._unsent) > MAX_UNSENT:
                raise BlockingIOError
        self._unsent += data
        return len(data)

    def gather(self) -> None:
        """Keep what is sent from now on until `flush`."""
        self._gathering = True

    def flush(self) -> None:
        """Send what was gathered, as far as it goes; raises OSError when the connection is gone."""
        self._gathering = False
        self._flush()

    def close(self) -> None:
        """Close it; what was gathered goes first, as far as the system takes it."""
        # An error means that nobody is there to read it.
        try:
            with contextlib.suppress(OSError, ValueError):
                self.flush()
        finally:
            self._sock.close()

    def fileno(self) -> int:
        """Give the number for poll and select."""
        number: int = self._sock.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        """Set whether calls wait; paho sets False."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long each call waits; paho does before the handshake."""
        self._sock.settimeout(seconds)

    def _more(self, length: int) -> bool:
        """
        Read at most *length* bytes; False at the end of the stream.

        Raises:
            BlockingIOError: Nothing came, or nothing that goes on.
            ProtocolError: See `problem`.
        """
        if self.problem is not None:
            raise self.problem
        self._read, self._position = b"", 0
        data = self._sock.recv(length)
        if not data:
            return False
        try:
            self._read = self._packets.feed(data)
        except ProtocolError as error:
            self.problem = error
            raise
        if not self._read:
            raise BlockingIOError
        return True

    def _flush(self) -> None:
        while self._unsent:
            try:
                taken = self._sock.send(self._unsent)
            except LATER:
                return
            del self._unsent[:taken]


class SocketContext(ssl.SSLContext):
    """
    For paho's `tls_set_context`: gives it a `BufferedSocket`, whatever is below.

    Args:
        limit: How large packets may be that come in.
        tls: With TLS: its context.
        place: With websockets: what is asked for.
    """

    def __new__(cls, *_: object, **__: object) -> Self:
        """Make a context; it serves nothing but what paho looks at."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, limit: PacketLimit, *, tls: ssl.SSLContext | None = None, place: Place | None = None):
        super().__init__()
        self._limit = limit
        self._tls = tls
        self._place = place

    def wrap_socket(  # type: ignore[override] # the signature of the base; paho needs no more of it than this
        self, sock: socket.socket, *, server_hostname: str | None = None, **_: object
    ) -> BufferedSocket:
        """Wrap the connected *sock*; the handshake is left to `BufferedSocket.do_handshake`."""
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        return BufferedSocket(sock if self._place is None else WebSocket(sock, self._place), self._limit)
