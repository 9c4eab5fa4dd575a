"""
A server that takes its time: what it answers is a row of pieces, with pauses between them.

For answers that drip, flood, never end or break off, each written as the pieces
that make it: `drip(b"HTTP/1.1 ")`, `flood(b"x")`, `RESET`. Before HTTP, `greeting`
pieces can stand in for a TLS handshake.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.integration.qrs.scripted_server import Files, server_context

#: Bytes to send, seconds to wait, or one of the marks below.
Piece = bytes | float | str
Pieces = Iterable[Piece]
#: Close with a reset; otherwise the connection is kept open until the client has closed it.
RESET = "reset"
#: Close without a word.
CUT = "cut"

PAUSE = 0.02
_ABORT = struct.pack("ii", 1, 0)


def drip(data: bytes, pause: float = PAUSE) -> Iterator[Piece]:
    """Return *data* a byte at a time."""
    for number in range(len(data)):
        yield data[number : number + 1]
        yield pause


def drip_for_ever(data: bytes, pause: float = PAUSE) -> Iterator[Piece]:
    """Return *data* again and again, with a pause after each."""
    while True:
        yield data
        yield pause


def flood(data: bytes, size: int | None = None) -> Iterator[Piece]:
    """Return *data* again and again without a pause, for ever or to at least *size* bytes."""
    times = None if size is None else -(-size // len(data))
    return itertools.repeat(data) if times is None else itertools.repeat(data, times)


@dataclass
class DrippingServer:
    """The running server; `pieces` gives what each call is answered with, and may be replaced."""

    port: int
    pieces: Callable[[], Pieces]
    greeting: Pieces = ()
    #: Requests that came whole, by their first lines.
    calls: list[str] = field(default_factory=list)
    sent: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw, context), daemon=True).start()

    def _serve(self, raw: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            self._send(raw, self.greeting)
            peer = raw if context is None else context.wrap_socket(raw, server_side=True)
            with peer, peer.makefile("rb") as reader:
                while line := reader.readline():
                    while reader.readline().strip():
                        pass
                    self.calls.append(line.decode("ascii").strip())
                    if not self._send(peer, self.pieces()):
                        return
        except OSError:  # the client has enough
            pass
        finally:
            raw.close()

    def _send(self, peer: socket.socket, pieces: Pieces) -> bool:
        for piece in pieces:
            if self.over.is_set() or piece == CUT:
                return False
            if piece == RESET:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                return False
            if isinstance(piece, bytes):
                peer.sendall(piece)
                self.sent += len(piece)
            else:
                self.over.wait(float(piece))
        return True


@contextmanager
def dripping(
    pieces: Callable[[], Pieces], files: Files | None = None, *, greeting: Pieces = ()
) -> Iterator[DrippingServer]:
    """Serve on a free port of 127.0.0.1, over TLS with client certificates if *files* are given."""
    context = None if files is None else server_context(files)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = DrippingServer(listener.getsockname()[1], pieces, greeting)
        thread = threading.Thread(target=server.run, args=(listener, context))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
