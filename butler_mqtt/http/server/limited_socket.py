"""A listening socket with a limit of connections."""

from __future__ import annotations

import socket
from typing import Any

#: Connections that wait in the kernel to be accepted.
BACKLOG = 512


class _Connection(socket.socket):
    """An accepted connection; closing it frees its place at the listener."""

    listener: LimitedSocket | None = None

    def close(self) -> None:
        """Close it and free its place."""
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.open -= 1
        super().close()


class LimitedSocket(socket.socket):
    """
    Closes connections beyond its limit at once.

    Each connection costs a file descriptor, and without descriptors neither
    the journal nor the broker could be opened again. The limit is here, at
    `accept`, since a connection whose TLS handshake is not finished is seen
    nowhere else.
    """

    limit = 0
    open = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection for which there is a place; raises BlockingIOError when none waits."""
        while True:
            accepted, address = super().accept()
            connection = _Connection(self.family, self.type, self.proto, fileno=accepted.detach())
            if self.open < self.limit:
                self.open += 1
                connection.listener = self
                return connection, address
            connection.close()


def listen(host: str, port: int, limit: int) -> LimitedSocket:
    """
    Listen on *host* and *port*.

    Raises:
        OSError: The address is taken or is not one of this machine, or its name is unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except UnicodeError as error:
        raise OSError("that is no host name: a part of it is empty or too long") from error
    listener = LimitedSocket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Closes connections whose other end has vanished.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    listener.limit = limit
    return listener
