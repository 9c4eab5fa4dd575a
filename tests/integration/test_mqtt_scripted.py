"""Answers that mosquitto cannot be made to give, from a broker that says what a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from butler_mqtt import settings
from butler_mqtt.mqtt import DoorState
from butler_mqtt.mqtt.client import Limits
from butler_mqtt.mqtt.connection import Connection, Ended
from tests.brokers import free_port, until
from tests.integration.mqtt_parts import doorkeeper

CONNECT, PUBLISH, SUBSCRIBE = 0x10, 0x30, 0x80
ACCEPTED = b"\x20\x03\x00\x00\x00"

Script = dict[int, Callable[[bytes], bytes]]


def suback(*reasons: int) -> Callable[[bytes], bytes]:
    """Answer SUBSCRIBE, whose body begins with the packet id."""
    return lambda body: bytes([0x90, 3 + len(reasons), *body[:2], 0, *reasons])


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[settings.Mqtt]:
    """Serve connections one after another: each kind of packet gets its answer, b"" closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, script), daemon=True)
        thread.start()
        yield settings.Mqtt(broker_host="127.0.0.1", broker_port=server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _serve(server: socket.socket, script: Script) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
                while header := stream.read(1):
                    length = shift = 0
                    while True:
                        byte = stream.read(1)[0]
                        length |= (byte & 0x7F) << shift
                        shift += 7
                        if byte < 0x80:
                            break
                    body = stream.read(length)
                    reply = script.get(header[0] & 0xF0)
                    if reply is None:
                        continue
                    answer = reply(body)
                    if not answer:
                        break
                    connection.sendall(answer)


def accept(_body: bytes) -> bytes:
    return ACCEPTED


def test_the_reason_session_taken_over_ends_the_door_at_once() -> None:
    script = {CONNECT: accept, SUBSCRIBE: suback(1, 0), PUBLISH: lambda _: b"\xe0\x02\x8e\x00"}
    with scripted(script) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.GIVEN_UP, what="gives up")
        assert len(keeper.sessions) == 1
        assert keeper.states == [DoorState.READY, DoorState.TAKEN_OVER, DoorState.GIVEN_UP]


def test_a_daemon_that_was_taken_over_stays_away_before_it_gives_up() -> None:
    script = {CONNECT: accept, SUBSCRIBE: suback(1, 0), PUBLISH: lambda _: b"\xe0\x02\x8e\x00"}
    with scripted(script) as mqtt, doorkeeper(mqtt, stay_away_seconds=60) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.TAKEN_OVER, what="taken over")
        seen = keeper.door.progress()
        until(lambda: keeper.door.progress() > seen, what="alive meanwhile")
        assert (keeper.door.state, len(keeper.sessions)) == (DoorState.TAKEN_OVER, 1)


def test_a_subscription_refused_by_its_reason_code_names_it() -> None:
    with scripted({CONNECT: accept, SUBSCRIBE: suback(0x87, 0)}) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what="refused")
        assert "0x87 Not authorized" in keeper.door.reason


@pytest.mark.parametrize(
    ("reason", "state"),
    [(0x88, DoorState.CONNECTING), (0x86, DoorState.REFUSED), (0x8A, DoorState.REFUSED)],
    ids=["unavailable", "password", "banned"],
)
def test_a_busy_broker_is_awaited_and_a_refusing_one_reported(reason: int, state: DoorState) -> None:
    script: Script = {CONNECT: lambda _: bytes([0x20, 3, 0, reason, 0])}
    with scripted(script) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: f"0x{reason:02X}" in keeper.door.reason, what=keeper.door.reason)
        assert keeper.door.state is state


def test_a_server_that_hangs_up_on_connect_is_tried_again_with_a_hint() -> None:
    with scripted({CONNECT: lambda _: b""}) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: "does it speak MQTT 5" in keeper.door.reason, what=keeper.door.reason)
        assert (keeper.door.state, keeper.sessions) == (DoorState.CONNECTING, [])


def test_packets_that_cannot_be_read_are_no_takeover() -> None:
    with (
        scripted({CONNECT: accept, SUBSCRIBE: lambda _: b"\x30\x03\x00\x09x"}) as mqtt,
        doorkeeper(mqtt) as keeper,
    ):
        keeper.door.start()
        until(lambda: len(keeper.sessions) > 3, seconds=30, what="tried again")
        assert DoorState.TAKEN_OVER not in keeper.states


class Dying:
    """A user of a connection with a bug where nothing guards it."""

    def prepare(self, client: object) -> None:
        """Need nothing."""

    def accepted(self, client: object, session_present: bool, limits: Limits) -> None:
        """Need nothing."""

    def published(self, packet: bytes) -> bool:  # noqa: ARG002 (the signature of a peer)
        """Want nothing."""
        return False

    def turned(self) -> None:
        """Need nothing."""

    def ended(self, ended: Ended) -> bool:
        raise ZeroDivisionError(ended.reason)


def test_a_network_thread_that_dies_is_reported() -> None:
    fatal: list[BaseException] = []
    connection = Connection(
        settings.Mqtt(broker_host="127.0.0.1", broker_port=free_port()),
        client_id="dying",
        keep_session=False,
        peer=Dying(),
        on_fatal=fatal.append,
    )
    connection.start()
    until(lambda: fatal, what="reported")
    connection.stop(5)
    assert isinstance(fatal[0], ZeroDivisionError)
    assert not connection.alive
