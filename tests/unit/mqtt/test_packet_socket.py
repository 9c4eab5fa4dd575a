"""The socket under paho loses no byte, reading ahead or sending packets of ours in between."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from butler_mqtt.mqtt.oversize import PacketLimit
from butler_mqtt.mqtt.packet_socket import PacketSocket
from butler_mqtt.mqtt.paho_client import new_client
from butler_mqtt.settings import MqttSettings

LIMIT = PacketLimit(payload=1000, is_v5=False)
Ends = tuple[PacketSocket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    packets = PacketSocket(ours, LIMIT)
    yield packets, theirs
    packets.close()
    theirs.close()


def test_many_small_reads_are_one_of_the_system(ends: Ends) -> None:
    packets, theirs = ends
    theirs.sendall(b"abcdef")
    assert packets.recv(1) == b"a"
    assert packets.pending() == 5
    assert [packets.recv(2), packets.recv(10)] == [b"bc", b"def"]
    with pytest.raises(BlockingIOError):
        packets.recv(1)


def test_the_end_is_read_after_all_that_came_before(ends: Ends) -> None:
    packets, theirs = ends
    theirs.sendall(b"ab")
    theirs.shutdown(socket.SHUT_WR)
    assert [packets.recv(1), packets.recv(1), packets.recv(1)] == [b"a", b"b", b""]


def test_a_packet_leaves_at_once(ends: Ends) -> None:
    packets, theirs = ends
    assert packets.send(b"ab") == 2
    packets.insert(b"cd")
    assert not packets.unsent
    assert packets.send(b"ef") == 2
    assert theirs.recv(100) == b"abcdef"


def fill(packets: PacketSocket) -> bytes:
    """Send until the system takes no more."""
    sent = b""
    while not packets.blocked:
        part = bytes([len(sent) % 251]) * 10_000
        try:
            sent += part[: packets.send(part)]
        except BlockingIOError:
            break
    return sent


def test_a_full_system_is_noticed_until_it_takes_something_again(ends: Ends) -> None:
    packets, theirs = ends
    sent = fill(packets)
    assert packets.blocked
    assert theirs.recv(1 << 20) == sent[: 1 << 20]
    assert packets.send(b"more") == 4
    assert not packets.blocked


class Narrow(socket.socket):
    """Takes as many bytes as it has room for, then none."""

    room = 0

    def send(self, data: Any, flags: int = 0) -> int:
        part, self.room = data[: self.room], max(self.room - len(data), 0)
        if not part:
            raise BlockingIOError
        return super().send(part, flags)


def test_the_rest_of_a_packet_of_ours_leaves_before_the_next_of_paho() -> None:
    plain, theirs = socket.socketpair()
    ours = Narrow(plain.family, plain.type, plain.proto, fileno=plain.detach())
    with theirs, ours:
        packets = PacketSocket(ours, LIMIT)
        ours.room = 1
        packets.insert(b"ab")
        assert packets.unsent
        assert packets.blocked
        with pytest.raises(BlockingIOError):
            packets.send(b"cd")
        ours.room = 100
        packets.flush()
        assert (packets.unsent, packets.blocked) == (False, False)
        assert packets.send(b"cd") == 2
        ours.room = 0
        packets.insert(b"ef")
        ours.room = 100
        assert packets.send(b"gh") == 2
        assert theirs.recv(100) == b"abcdefgh"


def test_paho_uses_this_socket() -> None:
    client = new_client(MqttSettings(), "test", keep_session=False)
    opened = []
    client.on_socket_open = lambda _client, _userdata, sock: opened.append(sock)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.connect("127.0.0.1", server.getsockname()[1])
        assert isinstance(client.socket(), PacketSocket)
        assert opened == [client.socket()]
        opened[0].close()
