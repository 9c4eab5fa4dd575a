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

from butler_mqtt.mqtt.network_loop import NetworkLoop
from butler_mqtt.mqtt.oversize import PacketLimit
from butler_mqtt.mqtt.packet_socket import SocketContext
from butler_mqtt.mqtt.properties import variable_length

CONNACK = b"\x20\x02\x00\x00"
#: A message of QoS 0 on topic `t`.
MESSAGE = b"\x30\x03\x00\x01t"
SUBACK = b"\x90\x03\x00\x01\x01"
PING = b"\xc0\x00"
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


Ends = tuple[Late, NetworkLoop, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Yield a connected client, its loop and the broker's end."""
    client = Late(CallbackAPIVersion.VERSION2, "test", protocol=MQTTProtocolVersion.MQTTv311)
    client.tls_set_context(SocketContext(LIMIT))
    with socket.create_server(("127.0.0.1", 0)) as server, NetworkLoop(client) as loop:
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


def test_messages_arrive_whole_and_in_order_however_they_are_cut_up(ends: Ends) -> None:
    client, loop, broker = ends
    came: list[bytes] = []
    client.on_message = lambda _client, _userdata, message: came.append(bytes(message.payload))
    texts = [b"1", b"22", b"", MESSAGE, b"333", bytes(131_072), b"4"]
    stream = b"".join(b"\x30" + variable_length(3 + len(text)) + b"\x00\x01t" + text for text in texts)

    def send(size: int) -> None:
        for start in range(0, len(stream), size):
            broker.sendall(stream[start : start + size])

    for size in (len(stream), 1000, 4097, 65_536):
        came.clear()
        sending = threading.Thread(target=send, args=(size,))
        sending.start()
        while len(came) < len(texts):
            loop.turn(LONG)
        sending.join()
        assert came == texts


def test_a_packet_of_ours_is_sent_between_those_of_paho_or_not_at_all(ends: Ends) -> None:
    client, loop, broker = ends
    assert loop.send_between(PING)
    client.publish("t", b"x")
    assert not loop.send_between(PING)
    loop.turn(0)
    assert loop.send_between(PING)
    sent = b"".join((PING, b"\x30\x04\x00\x01tx", PING))
    came = b""
    while len(came) < len(sent):
        came += broker.recv(100)
    assert came == sent


def test_what_the_system_does_not_take_is_sent_when_it_does(ends: Ends) -> None:
    client, loop, broker = ends
    payload = bytes(16_000_000)
    client.publish("t", payload)
    loop.turn(0)
    assert client.want_write()
    assert not loop.send_between(PING)
    came = 0

    def drain() -> None:
        nonlocal came
        while came < len(payload):
            came += len(broker.recv(1 << 20))

    reading = threading.Thread(target=drain)
    reading.start()
    while client.want_write():
        loop.turn(LONG)
    reading.join()
    assert came == len(payload) + 8


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


@pytest.fixture
def held_up() -> Iterator[HeldUp]:
    """Yield a connection on which two messages came and no third may pass."""
    made = HeldUp()
    with made.connected():
        yield made


class HeldUp:
    """A client that takes `most` messages, its loop and the broker's end."""

    broker: socket.socket

    def __init__(self, *, keepalive: int = 60) -> None:
        self._keepalive = keepalive
        self.client = Late(CallbackAPIVersion.VERSION2, "test", protocol=MQTTProtocolVersion.MQTTv311)
        self.client.tls_set_context(SocketContext(LIMIT))
        self.client.on_message = self.count
        self.client.on_subscribe = lambda *_: self.answers.append("SUBACK")
        self.client.on_disconnect = lambda *_: self.answers.append("end")
        self.answers: list[str] = []
        self.came, self.most = 0, 2
        self.loop = NetworkLoop(self.client, may_pass=lambda topic: topic == b"s" or self.came < self.most)

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Connect, and let two messages come."""
        with socket.create_server(("127.0.0.1", 0)) as server, self.loop:
            self.client.connect("127.0.0.1", server.getsockname()[1], self._keepalive)
            self.broker, _ = server.accept()
            with self.broker:
                self.broker.settimeout(10)
                self.broker.sendall(CONNACK + MESSAGE * 2)
                while self.came < 2:
                    self.loop.turn(1)
                assert self.broker.recv(100)
                yield

    def count(self, *_: object) -> None:
        self.came += 1


def test_a_message_that_must_not_pass_yet_stays_and_what_is_queued_is_written(held_up: HeldUp) -> None:
    held_up.broker.sendall(MESSAGE)
    held_up.client.publish("t", b"x")
    for _ in range(4):
        held_up.loop.turn(0)
    assert held_up.came == 2
    assert held_up.broker.recv(100).endswith(b"\x00\x01tx")
    held_up.most = 3
    began = time.monotonic()
    held_up.loop.turn(LONG)
    assert time.monotonic() - began < LONG / 2
    assert held_up.came == 3


def test_while_no_message_may_pass_all_else_is_read(held_up: HeldUp) -> None:
    held_up.broker.sendall(SUBACK + MESSAGE + SUBACK)
    for _ in range(4):
        held_up.loop.turn(0)
    assert (held_up.came, held_up.answers) == (2, ["SUBACK"])
    held_up.most = 3
    held_up.loop.turn(LONG)
    assert (held_up.came, held_up.answers) == (3, ["SUBACK", "SUBACK"])


def test_a_connection_on_which_nothing_may_pass_costs_no_processor_time(held_up: HeldUp) -> None:
    held_up.broker.sendall(MESSAGE * 50_000)
    for _ in range(2):
        held_up.loop.turn(0.5)  # reads ahead once
    began = time.monotonic()
    held_up.loop.turn(0.2)
    assert time.monotonic() - began >= 0.2


def test_its_end_is_noticed_at_once_with_what_the_broker_said_before(held_up: HeldUp) -> None:
    held_up.broker.sendall(MESSAGE)
    for _ in range(2):
        held_up.loop.turn(0)
    held_up.broker.sendall(SUBACK)
    held_up.broker.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    while not held_up.loop.turn(LONG):
        pass
    assert time.monotonic() - began < LONG / 2
    assert held_up.answers == ["SUBACK", "end"]


def test_a_topic_that_may_pass_in_any_case_is_let_through(held_up: HeldUp) -> None:
    held_up.broker.sendall(MESSAGE.replace(b"t", b"s") + MESSAGE)
    for _ in range(4):
        held_up.loop.turn(0)
    assert held_up.came == 3


def test_a_broker_that_does_not_answer_is_given_up_while_nothing_may_pass() -> None:
    given_up = HeldUp(keepalive=1)
    with given_up.connected():
        given_up.broker.sendall(MESSAGE)
        began = time.monotonic()
        while not given_up.answers:
            given_up.loop.turn(0.2)
            assert time.monotonic() - began < LONG, "it was not noticed"
        assert set(given_up.answers) == {"end"}
        assert given_up.broker.recv(100) == PING


def test_a_connection_that_is_not_read_wakes_when_another_thread_says_so(ends: Ends) -> None:
    _client, loop, _broker = ends
    other = threading.Timer(0.05, loop.wake)
    other.start()
    began = time.monotonic()
    loop.turn(LONG)
    other.join()
    assert time.monotonic() - began < LONG / 2
