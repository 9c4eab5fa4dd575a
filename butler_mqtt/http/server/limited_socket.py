"""A listening socket with a limit of connections."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
from typing import Any

from butler_mqtt.repeated_lines import RepeatedLines

#: Connections that wait in the kernel to be accepted.
BACKLOG = 512
#: The system, or this process, has no file descriptor or no memory for one more connection.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Seconds in which nothing is accepted when that is so: the event loop would ask again at once.
PAUSE_SECONDS = 0.05

_log = logging.getLogger("butler_mqtt.http")


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

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lines = RepeatedLines()
        #: A descriptor to do without when there is none for a connection, which then can be closed.
        self._spare: int | None = None
        self._keep_spare()

    def close(self) -> None:
        """Close it."""
        self._give_spare()
        super().close()

    def accept(self) -> tuple[socket.socket, Any]:
        """
        Accept the next connection for which there is a place.

        Raises:
            BlockingIOError: None waits, or none can be accepted now, for which asyncio would log thousands
                of tracebacks a second.
        """
        while True:
            try:
                accepted, address = super().accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._turn_away(error)
                continue
            connection = _Connection(self.family, self.type, self.proto, fileno=accepted.detach())
            if self.open < self.limit:
                self.open += 1
                connection.listener = self
                return connection, address
            connection.close()

    def _turn_away(self, cause: OSError) -> None:
        """Close the next connection, for which nothing is left; raises BlockingIOError if it cannot."""
        if self._lines.level("exhausted") == logging.INFO:
            _log.error(
                "a connection cannot be taken: %s; %d of HTTP are open. Raise LimitNOFILE (ulimit -n), or "
                "find what else uses up the system's files",
                cause.strerror,
                self.open,
                extra={"action": "http_no_files"},
            )
        self._give_spare()
        try:
            super().accept()[0].close()
        except BlockingIOError:
            raise
        except OSError:
            time.sleep(PAUSE_SECONDS)
            raise BlockingIOError(errno.EAGAIN, cause.strerror) from None
        finally:
            self._keep_spare()

    def _keep_spare(self) -> None:
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)


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
