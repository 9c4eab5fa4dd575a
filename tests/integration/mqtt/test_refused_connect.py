"""A CONNECT that a broker refuses because of its version, its login or its will."""

from __future__ import annotations

import logging

import pytest

from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.mqtt.requester import Requester
from tests.brokers import until
from tests.integration.mqtt.recording import VERSIONS, doorkeeper, publisher
from tests.scripted_broker import CONNECT, Packet, ScriptedBroker

STATUS = "qliksense/butler/status"


# ---- a broker that speaks another version of MQTT


def answering(connack: bytes) -> ScriptedBroker:
    return ScriptedBroker(answers={CONNECT: lambda _body: connack})


@pytest.mark.parametrize(
    ("version", "connack", "words"),
    [
        ("5", b"\x20\x03\x00\x84\x00", "0x84 Unsupported protocol version"),
        ("5", b"\x20\x03\x00\x01\x00", "0x84 Unsupported protocol version"),
        ("5", b"\x20\x02\x00\x01", "0x01 unacceptable protocol version"),
        ("5", b"\x20\x02\x00\x05", "in the form of MQTT 3.1.1: 0x05 not authorized"),
        ("5", b"\x20\x02\x00\x04", "in the form of MQTT 3.1.1: 0x04 bad user name or password"),
        ("5", b"\x20\x02\x00\x00", "accepts the connection in the form of MQTT 3.1.1"),
        ("3.1.1", b"\x20\x02\x00\x01", "0x01 unacceptable protocol version"),
        ("3.1.1", b"\x20\x03\x00\x84\x00", "in the form of MQTT 5: 0x84"),
    ],
    ids=["0x84", "0x01 of 5", "0x01", "0x05", "0x04", "accepted", "3.1.1 refused", "5 in answer to 3.1.1"],
)
def test_a_broker_of_another_version_is_refused_with_the_setting(
    caplog: pytest.LogCaptureFixture, version: str, connack: bytes, words: str
) -> None:
    other = "3.1.1" if version == "5" else "5"
    with (
        answering(connack) as broker,
        doorkeeper(broker.settings(protocol_version=version), max_backoff_seconds=0.2) as keeper,
    ):
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what=keeper.door.reason)
        assert words in keeper.door.reason
        assert f"set mqttConfig.protocolVersion: {other}" in keeper.door.reason
        until(lambda: len(broker.seen(CONNECT)) > 3, what="tried again")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, errors
    assert "protocolVersion" in errors[0]


def test_a_login_that_3_1_1_refuses_in_answer_to_mqtt_5_may_be_the_password_too() -> None:
    with answering(b"\x20\x02\x00\x05") as broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: "protocolVersion" in keeper.door.reason, what=keeper.door.reason)
        assert "check mqttConfig.username and its password" in keeper.door.reason


def test_a_broker_of_3_1_1_that_is_busy_is_awaited() -> None:
    with answering(b"\x20\x02\x00\x03") as broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: "0x03 server unavailable" in keeper.door.reason, what=keeper.door.reason)
        assert (keeper.door.state, keeper.states) == (DoorState.CONNECTING, [])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_hangs_up_on_connect_may_be_one_of_another_version(version: str) -> None:
    broker = ScriptedBroker(version=version, hangs_up_on=lambda packet: packet.kind == CONNECT)
    other = "3.1.1" if version == "5" else "5"
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: "protocolVersion" in keeper.door.reason, what=keeper.door.reason)
        assert f"speaks MQTT {other} only set mqttConfig.protocolVersion: {other}" in keeper.door.reason


def test_a_command_that_asks_a_broker_of_another_version_says_which_setting() -> None:
    with answering(b"\x20\x02\x00\x05") as broker, pytest.raises(BrokerError) as caught:
        Requester(broker.settings()).__enter__()
    assert "set mqttConfig.protocolVersion: 3.1.1" in str(caught.value)
    hanging = ScriptedBroker(hangs_up_on=lambda packet: packet.kind == CONNECT)
    with hanging as broker, pytest.raises(BrokerError) as caught:
        Requester(broker.settings()).__enter__()
    assert "only set mqttConfig.protocolVersion: 3.1.1" in str(caught.value)


# ---- a broker that refuses the will


def no_will(connect: Packet) -> int:
    refusal = 0x87 if connect.is_v5 else 5
    return refusal if connect.will else 0


@pytest.mark.parametrize("version", VERSIONS)
def test_a_login_that_the_will_may_have_spoilt_names_both_causes(version: str) -> None:
    with (
        ScriptedBroker(version=version, connack=no_will) as broker,
        doorkeeper(broker.settings(username="butler")) as keeper,
    ):
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what=keeper.door.reason)
        assert "check mqttConfig.username and its password" in keeper.door.reason
        assert f"let user butler publish to {STATUS}, the topic of the will" in keeper.door.reason
        assert "butler-mqtt check" in keeper.door.reason


def test_a_login_without_a_will_is_refused_for_one_cause(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedBroker(connack=0x87) as broker, publisher(broker.settings()) as sender:
        sender.replies.start()
        until(lambda: "0x87" in caplog.text, what="refused")
    assert "password" in caplog.text
    assert "will" not in caplog.text
