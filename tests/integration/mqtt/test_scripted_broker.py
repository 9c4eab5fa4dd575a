"""Answers that mosquitto cannot be made to give, from a broker that a test scripts."""

from __future__ import annotations

import logging
import threading

import pytest

from butler_mqtt import settings
from butler_mqtt.mqtt.connection import BrokerConnection
from butler_mqtt.mqtt.connection_attempt import ConnectionAttempt, Ended
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.mqtt.oversize import HEADER_ROOM
from butler_mqtt.mqtt.paho_client import BrokerLimits
from butler_mqtt.mqtt.requester import Requester
from tests.brokers import free_port, until
from tests.integration.mqtt.recording import VERSIONS, doorkeeper, publisher
from tests.scripted_broker import (
    CONNECT,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    Rule,
    ScriptedBroker,
    maximum_packet_size,
    message,
    variable_length,
)

TOPIC = "qliksense/task/start"
STATUS = "qliksense/butler/status"

SESSION_TAKEN_OVER = 0x8E


def is_publish(packet: Packet) -> bool:
    return packet.kind == PUBLISH


def is_subscribe(packet: Packet) -> bool:
    return packet.kind == SUBSCRIBE


def test_the_reason_session_taken_over_ends_the_door_at_once() -> None:
    broker = ScriptedBroker(hangs_up_on=is_publish, disconnect_reason=SESSION_TAKEN_OVER)
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.GIVEN_UP, what="gives up")
        assert len(keeper.sessions) == 1
        assert keeper.states == [DoorState.READY, DoorState.TAKEN_OVER, DoorState.GIVEN_UP]


def test_a_daemon_that_was_taken_over_stays_away_before_it_gives_up() -> None:
    broker = ScriptedBroker(hangs_up_on=is_publish, disconnect_reason=SESSION_TAKEN_OVER)
    with broker, doorkeeper(broker.settings(), stay_away_seconds=60) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.TAKEN_OVER, what="taken over")
        seen = keeper.door.progress()
        until(lambda: keeper.door.progress() > seen, what="still alive")
        assert (keeper.door.state, len(keeper.sessions)) == (DoorState.TAKEN_OVER, 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("reason", [0x80, 0x87, 0x97])
def test_a_subscription_refused_by_its_reason_code_names_it(version: str, reason: int) -> None:
    reason = reason if version == "5" else 0x80
    broker = ScriptedBroker(version=version, suback=(reason, 0))
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what="refused")
        assert f"0x{reason:02X}" in keeper.door.reason
        assert TOPIC in keeper.door.reason


@pytest.mark.parametrize(
    ("reason", "state"),
    [(0x88, DoorState.CONNECTING), (0x86, DoorState.REFUSED), (0x8A, DoorState.REFUSED)],
    ids=["unavailable", "password", "banned"],
)
def test_a_busy_broker_is_awaited_and_a_refusing_one_reported(reason: int, state: DoorState) -> None:
    with ScriptedBroker(connack=reason) as broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: f"0x{reason:02X}" in keeper.door.reason, what=keeper.door.reason)
        assert keeper.door.state is state


def test_a_server_that_hangs_up_on_connect_is_tried_again_with_a_hint() -> None:
    broker = ScriptedBroker(hangs_up_on=lambda packet: packet.kind == CONNECT)
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: "does it speak MQTT 5" in keeper.door.reason, what=keeper.door.reason)
        assert (keeper.door.state, keeper.sessions) == (DoorState.CONNECTING, [])


def test_packets_that_cannot_be_read_are_no_takeover() -> None:
    broker = ScriptedBroker(answers={SUBSCRIBE: lambda _: b"\x30\x03\x00\x09x"})
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: len(keeper.sessions) > 3, seconds=30, what="tried again")
        assert DoorState.TAKEN_OVER not in keeper.states


# ---- a broker that hangs up on what the door sends


@pytest.mark.parametrize(
    ("hangs_up_on", "sent"),
    [
        (lambda packet: packet.retain, f"the status, retained, to {STATUS}"),
        (lambda packet: packet.topic == STATUS, f"the status, retained, to {STATUS}"),
        (lambda packet: STATUS in packet.topics, f"SUBSCRIBE to {TOPIC} and {STATUS}"),
    ],
    ids=["retained", "topic", "subscription"],
)
@pytest.mark.parametrize(
    ("version", "reason"), [("3.1.1", None), ("5", None), ("5", 0x87), ("5", 0x95), ("5", 0x97)]
)
def test_a_broker_that_hangs_up_on_the_status_is_served_without_it(
    hangs_up_on: Rule, sent: str, version: str, reason: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    broker = ScriptedBroker(version=version, hangs_up_on=hangs_up_on, disconnect_reason=reason)
    with broker, doorkeeper(broker.settings(), max_backoff_seconds=0.3) as keeper:
        keeper.door.start()
        until(lambda: len(keeper.sessions) == 4, what="without the status")
        keeper.wait_ready()
        *before, last = [packet for packet in broker.seen(CONNECT) if packet.client == "butler-mqtt"]
        assert [packet.will for packet in before] == [STATUS] * 3
        assert last.will == ""
        assert broker.seen(SUBSCRIBE)[-1].topics == (TOPIC,)
        assert DoorState.TAKEN_OVER not in keeper.states
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert f"last sent: {sent}" in warnings[0]


def test_a_broker_that_hangs_up_on_the_subscription_is_tried_for_ever_and_the_topic_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        ScriptedBroker(hangs_up_on=is_subscribe) as broker,
        doorkeeper(broker.settings(), max_backoff_seconds=0.3) as keeper,
    ):
        keeper.door.start()
        until(lambda: len(broker.seen(SUBSCRIBE)) >= 7, what="tried again")
        assert keeper.states == []
        assert f"last sent: SUBSCRIBE to {TOPIC}" in keeper.door.reason
        # It was no help to leave out the status, so it is there again.
        assert {packet.topics for packet in broker.seen(SUBSCRIBE)[:3]} == {(TOPIC, STATUS)}
        assert {packet.topics for packet in broker.seen(SUBSCRIBE)[3:6]} == {(TOPIC,)}
        assert broker.seen(SUBSCRIBE)[6].topics == (TOPIC, STATUS)
    assert "It was no help to leave out the status" in caplog.text


# ---- packets of absurd size

LARGE = 20_000_000


@pytest.mark.parametrize("version", VERSIONS)
def test_a_larger_packet_is_asked_not_to_come(version: str) -> None:
    with ScriptedBroker(version=version) as broker, doorkeeper(broker.settings()) as keeper:
        keeper.open()
        asked = maximum_packet_size(broker.seen(CONNECT)[0])
    assert asked == (262_144 + HEADER_ROOM if version == "5" else None)


def test_who_waits_for_a_reply_asks_for_no_limit_since_replies_may_be_larger() -> None:
    with ScriptedBroker() as broker:
        with Requester(broker.settings()):
            pass
        (packet,) = broker.seen(CONNECT)
    assert maximum_packet_size(packet) is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_one_that_comes_all_the_same_is_passed_on_in_part_and_the_next_whole(version: str, qos: int) -> None:
    is_v5 = version == "5"
    large = [*message(TOPIC, LARGE, qos=qos, is_v5=is_v5)]
    small = [*message(TOPIC, 10, qos=0, is_v5=is_v5)]
    with (
        ScriptedBroker(version=version, pushes=lambda: [*large, *small]) as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.open()
        received = {len(keeper.take().payload), len(keeper.take().payload)}
    assert received == {262_145, 10}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("kind", "name"), [(0x90, "SUBACK"), (0x40, "PUBACK")])
def test_another_packet_of_a_quarter_of_a_gigabyte_ends_the_connection_and_is_named(
    version: str, kind: int, name: str
) -> None:
    head = bytes([kind]) + variable_length(250_000_000)
    with (
        ScriptedBroker(version=version, pushes=lambda: [head, *[b"x" * (1 << 20)] * 250]) as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.door.start()
        until(lambda: f"a {name} of 250000000 bytes" in keeper.door.reason, what="named")
        assert keeper.messages.empty()


# ---- a broker that hangs up on what is published


@pytest.mark.parametrize("reason", [0x87, 0x95, 0x97])
def test_a_disconnect_because_of_a_publication_is_reported_with_its_reason(reason: int) -> None:
    broker = ScriptedBroker(hangs_up_on=is_publish, disconnect_reason=reason)
    with broker, publisher(broker.settings()) as sender:
        sender.open().publish(1)
        until(lambda: sender.hung_up, what="lost")
        assert sender.lost == [1]
        assert f"0x{reason:02X}" in sender.hung_up[0]


@pytest.mark.parametrize("reason", [0x89, 0x8B, 0x98, 0x9C, 0x9D])
def test_a_disconnect_that_passes_by_itself_is_not_put_down_to_a_publication(reason: int) -> None:
    broker = ScriptedBroker(hangs_up_on=is_publish, disconnect_reason=reason)
    with broker, publisher(broker.settings()) as sender:
        sender.open().publish(1)
        until(lambda: sender.hung_up, what="lost")
        assert (sender.lost, sender.hung_up) == ([1], [""])


def test_a_stop_is_not_put_down_to_a_publication() -> None:
    broker = ScriptedBroker(acknowledges=lambda _: False)
    with broker, publisher(broker.settings()) as sender:
        sender.open().publish(1)
        until(lambda: broker.seen(PUBLISH), what="published")
        sender.replies.stop()
        assert (sender.lost, sender.hung_up) == ([1], [""])


class Dying:
    """A user of a connection with a bug where nothing guards it."""

    will_topic = None

    def prepare(self, client: object) -> None:
        """Need nothing."""

    def accepted(self, client: object, session_present: bool, limits: BrokerLimits) -> None:
        """Need nothing."""

    def turned(self) -> None:
        """Need nothing."""

    def ended(self, ended: Ended) -> bool:
        raise ZeroDivisionError(ended.reason)


def test_a_network_thread_that_dies_is_reported() -> None:
    fatal: list[BaseException] = []
    connection = BrokerConnection(
        settings.MqttSettings(broker_host="127.0.0.1", broker_port=free_port()),
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


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        (True, "the broker did not answer for 1 s"),
        (False, "for 1 s no answer of the broker could be read: messages stand before it that wait for room"),
    ],
    ids=["room", "no room"],
)
def test_a_connection_that_is_given_up_says_why(room: bool, reason: str) -> None:
    answer = b"".join(message(TOPIC, 10, qos=0, is_v5=True))
    with ScriptedBroker(answers={PINGREQ: lambda _: answer}) as broker:
        ended = ConnectionAttempt(
            broker.settings(),
            client_id="patient",
            keep_session=False,
            peer=Dying(),
            stopping=threading.Event(),
            on_accepted=lambda _present: None,
            on_turn=lambda: None,
            may_pass=lambda _topic: room,
            keepalive_seconds=1,
        ).run()
    assert (ended.reason, ended.hung_up) == (reason, False)
