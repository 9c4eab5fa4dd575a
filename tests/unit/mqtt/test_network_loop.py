"""The network loop leaves nothing lying, whoever queues it and whatever comes in."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from butler_mqtt.mqtt.buffered_socket import SocketContext
from butler_mqtt.mqtt.network_loop import Loop
from butler_mqtt.mqtt.oversize import PacketLimit

CONNACK = b"\x20\x02\x00\x00"
#: A message of QoS 0 on topic `t`.
MESSAGE = b"\x30\x03\x00\x01t"
LIMIT = PacketLimit(payload=262_144, is_v5=False)
#: Longer than any of these tests may take: a turn that waits so long has missed something.
LONG = 60.0


class Late(paho.Client):
    """Lets something happen at the last moment: when paho has just found nothing more to write."""

    at_last: Callable[[], None] | None = None

    def want_write(self) -> bool:
        wanted = super().want_write()
        if not wanted and self.at_last is not None:
            happen, self.at_last = self.at_last, None
            happen()
        return wanted


Ends = tuple[Late, Loop, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Give a connected client, its loop and the broker's end."""
    with connected(lambda _packet: False) as parts:
        yield parts


@contextlib.contextmanager
def connected(take: Callable[[bytes], bool]) -> Iterator[Ends]:
    client = Late(CallbackAPIVersion.VERSION2, "test", protocol=MQTTProtocolVersion.MQTTv311)
    client.tls_set_context(SocketContext(LIMIT))
    with socket.create_server(("127.0.0.1", 0)) as server, Loop(client, take) as loop:
        client.connect("127.0.0.1", server.getsockname()[1])
        broker, _ = server.accept()
        with broker:
            broker.settimeout(10)
            broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop.turn(0)
            assert broker.recv(100)
            broker.sendall(CONNACK)
            while not client.is_connected():
                loop.turn(1)
            yield client, loop, broker


def test_what_is_queued_while_paho_ends_its_writing_is_written_at_once(ends: Ends) -> None:
    client, loop, broker = ends

    def publish() -> None:
        other = threading.Thread(target=client.publish, args=("late", b"late"))
        other.start()
        other.join()

    client.publish("first", b"first")
    client.at_last = publish
    began = time.monotonic()
    loop.turn(LONG)
    loop.turn(LONG)
    assert time.monotonic() - began < LONG / 2
    assert broker.recv(14) == b"\x30\x0c\x00\x05firstfirst"
    assert broker.recv(100) == b"\x30\x0a\x00\x04latelate"


def test_another_thread_wakes_the_loop(ends: Ends) -> None:
    client, loop, broker = ends
    other = threading.Timer(0.05, client.publish, ("t", b"x"))
    other.start()
    began = time.monotonic()
    loop.turn(LONG)
    other.join()
    assert time.monotonic() - began < LONG / 2
    assert broker.recv(100) == b"\x30\x04\x00\x01tx"


def test_a_flood_does_not_keep_a_turn_from_ending(ends: Ends) -> None:
    client, loop, broker = ends
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken < 20_000:
            # As much comes in as is worked off, and the last message read is never whole.
            broker.sendall(MESSAGE[2:] + MESSAGE[:2])

    client.on_message = count
    broker.sendall(MESSAGE * 1000 + MESSAGE[:2])
    client.publish("t", b"x")
    loop.turn(LONG)
    assert 1000 <= taken < 20_000
    assert broker.recv(100) == b"\x30\x04\x00\x01tx"


def test_messages_are_handed_on_in_their_order_whoever_reads_them() -> None:
    """Of those that come in parts paho has read the beginning."""
    came: list[bytes] = []

    def take(packet: bytes) -> bool:
        if packet.endswith(b"!"):
            return False
        came.append(packet[5:])
        return True

    with connected(take) as (client, loop, broker):
        client.on_message = lambda _client, _userdata, message: came.append(b"paho " + message.payload)
        texts = [b"1", b"2!", b"3", b"4", b"5!", b"6"]
        stream = b"".join(b"\x30" + bytes([3 + len(text)]) + b"\x00\x01t" + text for text in texts)
        for size in (len(stream), 1, 2, 3, 5, 7):
            came.clear()
            for start in range(0, len(stream), size):
                broker.sendall(stream[start : start + size])
                loop.turn(LONG)
            assert [text.removeprefix(b"paho ") for text in came] == texts
        came.clear()
        broker.sendall(stream)
        loop.turn(LONG)
        assert came == [b"1", b"paho 2!", b"3", b"4", b"paho 5!", b"6"]


def test_what_looks_like_a_message_within_another_is_none() -> None:
    came: list[bytes] = []

    def take(packet: bytes) -> bool:
        came.append(packet)
        return True

    with connected(take) as (client, loop, broker):
        client.on_message = lambda _client, _userdata, message: came.append(b"paho " + message.payload)
        broker.sendall(b"\x30" + bytes([3 + len(MESSAGE)]) + b"\x00\x01t")
        loop.turn(LONG)
        broker.sendall(MESSAGE)
        loop.turn(LONG)
    assert came == [b"paho " + MESSAGE]


def test_a_message_too_long_to_be_read_ahead_whole_is_read_by_paho() -> None:
    came: list[bytes] = []
    long: list[int] = []

    def take(packet: bytes) -> bool:
        came.append(packet)
        return True

    with connected(take) as (client, loop, broker):
        client.on_message = lambda _client, _userdata, message: long.append(len(message.payload))
        pong = b"\xd0\x00"
        packet = b"\x30\x83\x80\x08\x00\x01t" + bytes(131_072)
        sending = threading.Thread(target=broker.sendall, args=(pong + MESSAGE + packet + pong + MESSAGE,))
        sending.start()
        while len(came) < 2:
            loop.turn(LONG)
        sending.join()
    assert came == [MESSAGE, MESSAGE]
    assert long == [131_072]


def test_what_the_broker_said_before_it_went_is_read_although_writing_fails(ends: Ends) -> None:
    client, loop, broker = ends
    said = []
    client.on_message = lambda _client, _userdata, message: said.append(message.topic)
    client.publish("t", b"unread")
    loop.turn(0)
    broker.sendall(MESSAGE)
    # The connection is reset, as it is when a broker closes it with something unread.
    broker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broker.close()
    client.publish("t", b"in vain")
    with contextlib.suppress(OSError):
        while not loop.turn(LONG):
            pass
    assert said == ["t"]
