"""
The socket under paho: reads ahead, and sends what was gathered in one piece.

paho reads each packet in three calls and writes each with one. Every such call
gives the interpreter away, and in a busy daemon getting it back takes longer
than the packet itself.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

#: Bytes asked of the system at once.
READ_AHEAD = 1 << 16
#: Bytes kept for sending before paho is told to wait.
MAX_UNSENT = 1 << 18

_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BufferedSocket:
    """
    Wraps the connected socket *sock* of paho: TCP, TLS or websocket.

    Reading and writing are for one thread, paho's network loop.
    """

    def __init__(self, sock: Any) -> None:  # paho names no public type for its three kinds of sockets
        self._sock = sock
        self._read = b""
        self._position = 0
        self._unsent = bytearray()
        self._gathering = False

    @property
    def unsent(self) -> bool:
        """Tell whether something waits until the system takes it."""
        return bool(self._unsent)

    @property
    def read_ahead(self) -> int:
        """Count the bytes read that paho has not asked for yet."""
        return len(self._read) - self._position

    def recv(self, length: int) -> bytes:
        """Give at most *length* bytes, none at the end; raises what the socket raises."""
        if self._position == len(self._read):
            self._read = b""
            self._position = 0
            self._read = self._sock.recv(max(length, READ_AHEAD))
        part = self._read[self._position : self._position + length]
        self._position += len(part)
        return part

    def fill(self) -> None:
        """Read ahead when nothing is left of what was read; whatever goes wrong, `recv` meets it too."""
        if self._position == len(self._read):
            with contextlib.suppress(OSError):
                self._read = self._sock.recv(READ_AHEAD)
                self._position = 0

    def peek(self, kind: int) -> bytes | None:
        """Give the whole packet that comes next, if it is of this *kind* (its first four bits)."""
        data, start = self._read, self._position
        if start == len(data) or data[start] & 0xF0 != kind:
            return None
        # The remaining length (MQTT 5.0, 2.1.4): seven bits a byte, least first, four bytes at most.
        length = 0
        for place in range(1, 5):
            if start + place == len(data):
                return None
            byte = data[start + place]
            length |= (byte & 0x7F) << 7 * (place - 1)
            if byte < 0x80:
                end = start + place + 1 + length
                return None if end > len(data) else data[start:end]
        return None

    def skip(self, length: int) -> None:
        """Drop so many bytes of those read ahead."""
        self._position += length

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
        with contextlib.suppress(OSError, ValueError):
            self.flush()
        self._sock.close()

    def fileno(self) -> int:
        """Give the number for poll and select."""
        number: int = self._sock.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        """Set whether calls wait; paho sets False."""
        self._sock.setblocking(flag)

    def _flush(self) -> None:
        while self._unsent:
            try:
                taken = self._sock.send(self._unsent)
            except _LATER:
                return
            if not taken:  # paho's websocket has sent a part of its frame
                return
            del self._unsent[:taken]
