"""A listening socket that holds only so many connections."""

from __future__ import annotations

import socket
from typing import Any

#: Connections waiting to be accepted, in the kernel.
BACKLOG = 512


class _Connection(socket.socket):
    """An accepted connection that tells its listener when it is closed."""

    listener: LimitedSocket | None = None

    def close(self) -> None:
        """Close it and make room for another."""
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.open -= 1
        super().close()


class LimitedSocket(socket.socket):
    """
    Closes what comes beyond its limit at once.

    Each connection costs a file descriptor, and without descriptors neither
    the journal nor the broker could be opened again. The limit is here, at
    `accept`, since a connection without a finished TLS handshake is not seen
    anywhere else.
    """

    limit = 0
    open = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection for which there is room; raises BlockingIOError when none waits."""
        while True:
            plain, address = super().accept()
            connection = _Connection(self.family, self.type, self.proto, fileno=plain.detach())
            if self.open < self.limit:
                self.open += 1
                connection.listener = self
                return connection, address
            connection.close()


def listen(host: str, port: int, limit: int) -> LimitedSocket:
    """
    Listen on *host* and *port*.

    Raises:
        OSError: The address is taken, is not ours, or its name is not known.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = LimitedSocket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The other end of a half-open connection is found gone.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    listener.limit = limit
    return listener
