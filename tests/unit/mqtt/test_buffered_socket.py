"""The socket under paho reads ahead and sends in one piece, and loses no byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from butler_mqtt.mqtt.buffered_socket import MAX_UNSENT, BufferedSocket
from butler_mqtt.mqtt.oversize import PacketLimit
from butler_mqtt.mqtt.paho_client import new_client
from butler_mqtt.settings import MqttSettings


@pytest.fixture
def ends() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    buffered = BufferedSocket(ours, PacketLimit(payload=1000, is_v5=False))
    yield buffered, theirs
    buffered.close()
    theirs.close()


def test_many_small_reads_are_one_of_the_system(ends: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = ends
    theirs.sendall(b"abcdef")
    assert buffered.recv(1) == b"a"
    assert buffered.pending() == buffered.read_ahead == 5
    assert [buffered.recv(2), buffered.recv(10)] == [b"bc", b"def"]
    with pytest.raises(BlockingIOError):
        buffered.recv(1)


def test_the_end_is_read_after_all_that_came_before(ends: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = ends
    theirs.sendall(b"ab")
    theirs.shutdown(socket.SHUT_WR)
    assert [buffered.recv(1), buffered.recv(1), buffered.recv(1)] == [b"a", b"b", b""]


def test_what_was_gathered_leaves_in_one_piece(ends: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = ends
    buffered.gather()
    assert buffered.send(b"ab") + buffered.send(b"cd") == 4
    assert buffered.unsent
    buffered.flush()
    assert not buffered.unsent
    assert theirs.recv(100) == b"abcd"


def test_without_gathering_a_packet_leaves_at_once(ends: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = ends
    assert buffered.send(b"ab") == 2
    assert theirs.recv(100) == b"ab"


def test_what_the_system_does_not_take_waits_in_its_order(
    ends: tuple[BufferedSocket, socket.socket],
) -> None:
    buffered, theirs = ends
    sent = bytearray()
    while len(sent) < 2 * MAX_UNSENT:
        part = bytes([len(sent) % 251]) * 10_000
        buffered.gather()
        try:
            buffered.send(part)
        except BlockingIOError:
            break
        sent += part
        buffered.flush()
    assert buffered.unsent
    assert len(sent) >= MAX_UNSENT
    received = bytearray()
    while len(received) < len(sent):
        received += theirs.recv(1 << 20)
        buffered.flush()
    assert received == sent


def test_closing_sends_what_was_gathered(ends: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = ends
    buffered.gather()
    buffered.send(b"goodbye")
    buffered.close()
    assert [theirs.recv(100), theirs.recv(100)] == [b"goodbye", b""]


def test_paho_uses_the_buffered_socket() -> None:
    client = new_client(MqttSettings(), "test", keep_session=False)
    opened = []
    client.on_socket_open = lambda _client, _userdata, sock: opened.append(sock)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client.connect("127.0.0.1", server.getsockname()[1])
        assert isinstance(client.socket(), BufferedSocket)
        assert opened == [client.socket()]
        opened[0].close()
