"""
The network loop of one client object, in place of paho's own.

paho's loop wakes itself with a system call for every packet and asks the
system before it reads each one; this one does both once for many. It also has
no limit to the numbers of files that `select` has, and hands messages on
before paho reads them.
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

from butler_mqtt.mqtt.buffered_socket import BufferedSocket
from butler_mqtt.mqtt.publish_packet import PUBLISH

#: More wakes than can come between two turns, and packets read in one at most.
_MANY = 4096


class Loop:
    """
    Turns the loop of *client*, on one thread; a context manager.

    From the start of the context on, other threads may publish and
    acknowledge: what they queue wakes the loop.

    Args:
        client: Not connected yet.
        take: Is given each whole PUBLISH before paho, False leaves it to paho.
    """

    def __init__(self, client: paho.Client, take: Callable[[bytes], bool] = lambda _packet: False) -> None:
        self._client = client
        self._take = take
        self._thread = threading.get_ident()
        self._poll = select.poll()
        self._woken, self._waking = socket.socketpair()
        for one in (self._woken, self._waking):
            one.setblocking(False)
        self._poll.register(self._woken, select.POLLIN)
        #: The number of the socket that is polled, and whether that also waits to write.
        self._known: tuple[int, bool] | None = None
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
        assert isinstance(sock, BufferedSocket)  # noqa: S101 -- narrows the type; see `new_client`
        # What other threads queue while paho ends its writing does not wake anybody: it is found here.
        at_once = sock.pending() or (client.want_write() and not sock.unsent)
        # Reading first: a broker that goes away may have said why, and writing would only fail.
        if self._wait(sock, 0.0 if at_once else timeout) or sock.pending():
            rc = self._read(sock)
            if sock.problem is not None:
                raise sock.problem
            if rc or client.socket() is None:
                return rc
        if client.want_write():
            rc = self._write(sock)
            if rc or client.socket() is None:
                return rc
        elif sock.unsent:
            sock.flush()
        return client.loop_misc()

    def send_between(self, packet: bytes) -> bool:
        """
        Send a whole packet that is not paho's, behind those that paho was given; on the network thread.

        Without the buffer under paho: what the socket does not take at once of
        *packet* has to be sent before paho writes again.

        Returns:
            False, and nothing is sent, when some of paho's are not written yet.

        Raises:
            OSError: The connection is gone.
        """
        sock = self._client.socket()
        if not isinstance(sock, BufferedSocket) or self._client.want_write() or sock.unsent:
            return False
        sock.gather()
        sock.send(packet)
        sock.flush()
        return True

    def _write(self, sock: BufferedSocket) -> MQTTErrorCode:
        sock.gather()
        rc = self._client.loop_write()
        if self._client.socket() is not None:
            sock.flush()
        return rc

    def _read(self, sock: BufferedSocket) -> MQTTErrorCode:
        """Read all that came with the first of it, within limits: a flood must not keep us from writing."""
        sock.fill()
        for _ in range(_MANY):
            if not self._taken(sock):
                rc = self._client.loop_read()
                if rc:
                    return rc
            if not sock.read_ahead or self._client.socket() is None:
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _taken(self, sock: BufferedSocket) -> bool:
        packet = sock.peek(PUBLISH)
        if packet is None or not self._take(packet):
            return False
        sock.skip(len(packet))
        return True

    def _wait(self, sock: BufferedSocket, timeout: float) -> bool:
        """Wait for traffic, or for something to send; tell whether there is something to read."""
        wanted = (sock.fileno(), sock.unsent)
        if wanted != self._known:
            if self._known is not None:
                self._poll.unregister(self._known[0])
            self._poll.register(wanted[0], select.POLLIN | (select.POLLOUT if sock.unsent else 0))
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
        if threading.get_ident() != self._thread:
            # Full: it is awake already; closed: the connection has ended.
            with contextlib.suppress(OSError):
                self._waking.send(b"\0")

    def _forget(self, _client: paho.Client, _userdata: object, _sock: object) -> None:
        """Poll a socket that is about to be closed no longer."""
        if self._known is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._known[0])
            self._known = None
