"""
The network loop of one client object, made of paho's public calls.

paho's own loop asks the system before it reads each packet, and its `select`
is limited to file numbers below 1024; this one polls once for all that came.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode

from butler_mqtt.mqtt.packet_socket import PacketSocket

#: More wakes than can come between two turns, and calls of `loop_read` in one at most.
_MANY = 4096


class NetworkLoop:
    """
    Turns the loop of *client*, on one thread; a context manager.

    From the start of the context on, other threads may publish and
    acknowledge: what they queue wakes the loop.

    Args:
        client: Not connected yet.
        may_pass: As for `PacketSocket`.
    """

    def __init__(
        self, client: paho.Client, *, may_pass: Callable[[bytes], bool] = lambda _topic: True
    ) -> None:
        self._client = client
        self._may_pass = may_pass
        self._thread = threading.get_ident()
        self._poll = select.poll()
        self._woken, self._waking = socket.socketpair()
        for one in (self._woken, self._waking):
            one.setblocking(False)
        self._poll.register(self._woken, select.POLLIN)
        self._gated: PacketSocket | None = None
        #: Whether messages were held up when it turned last.
        self.held_up = False
        #: The number of the socket that is polled, and what it is polled for.
        self._known: tuple[int, int] | None = None
        client.on_socket_register_write = self._wake  # in place of paho's own waking, see `new_client`
        client.on_socket_close = self._forget

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sock = self._client.socket()
        if sock is not None:
            self._forget(self._client, None, sock)
            sock.close()
        self._woken.close()
        self._waking.close()

    def turn(self, timeout: float) -> MQTTErrorCode:
        """
        Read what comes within *timeout* seconds, and write what is queued.

        Raises:
            ProtocolError: The broker sent what the protocol does not allow.
            OSError: The connection is gone.
        """
        client = self._client
        sock = client.socket()
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        assert isinstance(sock, PacketSocket)  # noqa: S101 -- narrows the type; see `new_client`
        if sock is not self._gated:
            self._gated = sock
            sock.may_pass = self._may_pass
        self.held_up = sock.held_up
        reads = not self.held_up
        # What other threads queue while paho ends its writing wakes nobody: it is found here.
        at_once = (reads and sock.pending()) or (client.want_write() and not sock.blocked)
        # Reading first: a broker that closes the connection may have sent why, and writing would only fail.
        readable = self._wait(sock, 0.0 if at_once else timeout, reads=reads)
        if readable and not reads:
            # It has ended. What is held up cannot be acknowledged any more; behind it may stand why it ended.
            sock.may_pass = lambda _topic: True
        if readable or (reads and sock.pending()):
            rc = self._read(sock)
            if sock.problem is not None:
                raise sock.problem
            if rc or client.socket() is None:
                return rc
        if client.want_write():
            rc = client.loop_write()
            if rc or client.socket() is None:
                return rc
        elif sock.unsent:
            sock.flush()
        return client.loop_misc()

    def send_between(self, packet: bytes) -> bool:
        """
        Send a whole packet that is not paho's, behind those that paho has queued; on the network thread.

        Returns:
            False, and nothing is sent, when some of paho's are not written yet.

        Raises:
            OSError: The connection is gone.
        """
        sock = self._client.socket()
        if not isinstance(sock, PacketSocket) or self._client.want_write() or sock.blocked:
            return False
        sock.insert(packet)
        return True

    def _read(self, sock: PacketSocket) -> MQTTErrorCode:
        """Read all that came with the first of it, within limits: a flood must not keep us from writing."""
        for _ in range(_MANY):
            rc = self._client.loop_read()
            if rc:
                return rc
            if self._client.socket() is None or not sock.pending() or sock.held_up:
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _wait(self, sock: PacketSocket, timeout: float, *, reads: bool) -> bool:
        """Wait until there is something to read, or to write; return whether there is something to read."""
        # An error is told in any case, the end of the stream of one that is not read only when asked for.
        read = select.POLLIN if reads else select.POLLRDHUP
        wanted = (sock.fileno(), read | (select.POLLOUT if sock.blocked else 0))
        if wanted != self._known:
            if self._known is not None:
                self._poll.unregister(self._known[0])
            self._poll.register(*wanted)
            self._known = wanted
        readable = False
        for number, events in self._poll.poll(timeout * 1000):
            if number != wanted[0]:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(_MANY)
            elif events & ~select.POLLOUT:  # an error or the end is read too
                readable = True
        return readable

    def _wake(self, _client: paho.Client, _userdata: object, _sock: object) -> None:
        # paho calls this for the first packet that is queued, not again until all are written.
        self.wake()

    def wake(self) -> None:
        """End the wait of a turn, from another thread."""
        if threading.get_ident() != self._thread:
            # Full: it is awake already; closed: the connection has ended.
            with contextlib.suppress(OSError):
                self._waking.send(b"\0")

    def _forget(self, _client: paho.Client, _userdata: object, _sock: object) -> None:
        """Stop polling a socket that is about to be closed."""
        if self._known is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._known[0])
            self._known = None
