"""Brokers that grant less than was asked for: it is said, and what can go on goes on."""

from __future__ import annotations

import pytest

from butler_mqtt.mqtt.door_state import DoorState
from tests.brokers import until
from tests.integration.mqtt.recording import doorkeeper
from tests.scripted_broker import ScriptedBroker


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.__dict__.get("action") == "mqtt_limits"]


@pytest.mark.parametrize("seconds", [0, 10])
def test_a_session_that_is_kept_for_less_than_asked_is_named_and_used(
    caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    expiry = seconds.to_bytes(4, "big")
    broker = ScriptedBroker(connack_properties=b"\x11" + expiry)
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.ready, what=keeper.door.reason)
        (line,) = said(caplog)
        assert f"keeps our session for {seconds} s only, not 604800 s" in line


def test_without_retained_messages_the_door_opens_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker(connack_properties=b"\x25\0")
    with broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.ready, what=keeper.door.reason)
        (line,) = said(caplog)
        assert "keeps no retained messages" in line


def test_a_subscription_granted_at_less_than_qos_1_is_refused() -> None:
    with ScriptedBroker(suback=(0, 0)) as broker, doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.state is DoorState.REFUSED, what=keeper.door.reason)
        assert "QoS 0 instead of 1" in keeper.door.reason
