"""
A hostile HTTP client: bare sockets that say what no honest client says.

The next case costs a line: `send` for what is wrong in itself, `flood` for what
does not end, `drip` for what comes too slowly.
"""

from __future__ import annotations

import json
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

START = b"POST /v4/reloadtask/start HTTP/1.1\r\nHost: localhost\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
#: A whole body in one chunk, and the beginning of the trailers.
LAST_CHUNK = b'e\r\n{"tag": "all"}\r\n0\r\n'
#: A flood stops here: the listener has then read far more than it may.
ENOUGH = 64 * 1024 * 1024
#: And here, seconds: longer than every time limit of a test.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How an exchange ended: all that was received, the bytes sent, whether the listener closed it."""

    received: bytes
    sent: int
    closed: bool

    @property
    def status(self) -> int | None:
        """The status of the first answer that is final; None when there was none."""
        for line in self.received.split(b"\r\n"):
            if line.startswith(b"HTTP/1.1 ") and not line.startswith(b"HTTP/1.1 1"):
                return int(line[9:12])
        return None

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last answer, JSON."""
        found: dict[str, Any] = json.loads(self.received.rpartition(b"\r\n\r\n")[2])
        return found


class HostileClient:
    """Speaks to the listener on *port* of 127.0.0.1; each method opens a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Open a bare connection, with a small receive buffer for a client that does not read."""
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def send(self, *pieces: bytes) -> Ended:
        """Send *pieces*, then read until the listener closes."""
        return self._exchange(b"".join(pieces), b"", ENOUGH, 0.0)

    def flood(self, head: bytes, piece: bytes, enough: int = ENOUGH) -> Ended:
        """Send *head* and then *piece* again and again, as fast as it is taken, until the listener closes."""
        return self._exchange(head, piece, enough, 0.0)

    def drip(self, head: bytes, piece: bytes, seconds: float = 0.02) -> Ended:
        """Send *head* and then *piece* again and again, one each *seconds*, until the listener closes."""
        return self._exchange(head, piece, ENOUGH, seconds)

    def _exchange(self, head: bytes, piece: bytes, enough: int, pause: float) -> Ended:
        received, sent, end = b"", 0, time.monotonic() + PATIENCE
        batch = piece if pause or not piece else piece * (65536 // len(piece) + 1)
        left = memoryview(head)
        with self.connect() as connection:
            connection.setblocking(False)
            while sent < enough and time.monotonic() < end:
                writing = [connection] if left else []
                readable, writable, _ = select.select([connection], writing, [], pause or 1.0)
                try:
                    if readable:
                        found = connection.recv(65536)
                        if not found:
                            return Ended(received, sent, closed=True)
                        received += found
                    if writable:
                        count = connection.send(left)
                        sent, left = sent + count, left[count:]
                except BlockingIOError:
                    pass
                except ConnectionError:
                    return Ended(received, sent, closed=True)
                if piece and not left and not readable:
                    left = memoryview(batch)
                if pause and writable:
                    select.select([connection], [], [], pause)
        return Ended(received, sent, closed=False)
