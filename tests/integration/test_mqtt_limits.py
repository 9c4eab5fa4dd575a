"""Brokers that grant less than was asked for: it is said, and what can go on goes on."""

from __future__ import annotations

import pytest

from butler_mqtt.mqtt import DoorState
from tests.brokers import until
from tests.integration.mqtt_parts import doorkeeper
from tests.integration.test_mqtt_scripted import CONNECT, SUBSCRIBE, scripted, suback


def connack(*properties: int) -> bytes:
    """Accept a connection with MQTT 5 properties, as bytes."""
    return bytes([0x20, 3 + len(properties), 0, 0, len(properties), *properties])


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.__dict__.get("action") == "mqtt_limits"]


@pytest.mark.parametrize("seconds", [0, 10])
def test_a_session_that_is_kept_for_less_than_asked_is_named_and_used(
    caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    expiry = seconds.to_bytes(4, "big")
    script = {CONNECT: lambda _body: connack(0x11, *expiry), SUBSCRIBE: suback(1, 0)}
    with scripted(script) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.ready, what=keeper.door.reason)
        (line,) = said(caplog)
        assert f"keeps our session for {seconds} s only, not 604800 s" in line


def test_without_retained_messages_the_door_opens_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    script = {CONNECT: lambda _body: connack(0x25, 0), SUBSCRIBE: suback(1, 0)}
    with scripted(script) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.ready, what=keeper.door.reason)
        (line,) = said(caplog)
        assert "keeps no retained messages" in line


def test_a_subscription_granted_at_less_than_qos_1_is_refused() -> None:
    script = {CONNECT: lambda _body: connack(), SUBSCRIBE: suback(0, 0)}
    with scripted(script) as mqtt, doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what=keeper.door.reason)
        assert "QoS 0 instead of 1" in keeper.door.reason
