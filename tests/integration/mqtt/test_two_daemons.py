"""Two daemons with one client id on a real mosquitto."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from butler_mqtt.mqtt.door_state import DoorState
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import VERSIONS, doorkeeper, plain_client

TOPIC = "qliksense/task/start"
STATUS = "qliksense/butler/status"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_newcomer_stays_and_the_one_before_gives_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        mqtt = broker.settings(protocol_version=version)
        with doorkeeper(mqtt) as older, doorkeeper(mqtt) as newer:
            older.open()
            newer.open()
            until(lambda: older.door.state is DoorState.GIVEN_UP, what="the older one gives up")
            newer.wait_ready()
            assert not older.door.alive
            assert DoorState.TAKEN_OVER in older.states
            assert DoorState.TAKEN_OVER not in newer.states
            with plain_client(broker, STATUS) as sender:
                assert newer.door.instance.encode() in bytes(sender.take().payload)
                sender.publish(TOPIC, "{}")
            newer.acknowledge(newer.take())
            assert older.messages.empty()
            assert newer.door.ready
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [getattr(record, "action", "") for record in errors] == ["mqtt_taken_over"]
    assert "clientId" in errors[0].getMessage()


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_that_wait_go_to_the_newcomer_alone(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        mqtt = broker.settings(protocol_version=version)
        with doorkeeper(mqtt) as older, doorkeeper(mqtt) as newer, plain_client(broker) as sender:
            older.open()
            newer.open()
            # While both fight, the broker hands what is not acknowledged to whoever is connected.
            for number in range(10):
                sender.publish(TOPIC, str(number))
            until(lambda: older.door.state is DoorState.GIVEN_UP, what="the older one gives up")
            newer.wait_ready()
            received = {newer.take().payload for _ in range(10)}
            assert received == {str(number).encode() for number in range(10)}
            assert older.messages.empty()


def test_a_live_status_of_another_daemon_ends_ours(tmp_path: Path) -> None:
    theirs = '{"status":"online","instance":"theirs","startedAt":"2020-01-01T00:00:00Z","version":"1"}'
    with (
        Mosquitto(tmp_path / "broker") as broker,
        plain_client(broker, STATUS) as other,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.open()
        other.take()
        other.publish(STATUS, theirs, retain=True)
        until(lambda: keeper.door.state is DoorState.GIVEN_UP, what="gives up")
    assert keeper.states == [
        DoorState.READY,
        DoorState.TAKEN_OVER,
        DoorState.GIVEN_UP,
        DoorState.STOPPED,
    ]


def test_the_status_a_dead_predecessor_left_is_replaced(tmp_path: Path) -> None:
    theirs = '{"status":"online","instance":"theirs","startedAt":"2020-01-01T00:00:00Z","version":"1"}'
    with (
        Mosquitto(tmp_path / "broker") as broker,
        plain_client(broker, STATUS) as other,
        doorkeeper(broker.settings()) as keeper,
    ):
        other.publish(STATUS, theirs, retain=True)
        assert b"theirs" in bytes(other.take().payload)
        keeper.open()
        assert keeper.door.instance.encode() in bytes(other.take().payload)
        # Its late will does not drive us away, nor does it stay.
        other.publish(STATUS, theirs.replace("online", "offline"), retain=True)
        assert b"theirs" in bytes(other.take().payload)
        assert keeper.door.instance.encode() in bytes(other.take().payload)
        assert keeper.states == [DoorState.READY]


def test_a_client_that_takes_our_id_without_a_status_is_a_suspicion_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path / "broker") as broker, doorkeeper(broker.settings()) as keeper:
        keeper.open()
        for _ in range(3):
            keeper.wait_ready()
            with plain_client(broker, client_id="butler-mqtt"):
                until(lambda: not keeper.door.ready, what="thrown out")
        keeper.wait_ready()
        assert DoorState.TAKEN_OVER not in keeper.states
    assert "another client has this client id" in caplog.text
