"""MQTT over websockets, against a real mosquitto behind a bridge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from butler_mqtt import settings
from butler_mqtt.mqtt.door_state import DoorState
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import VERSIONS, doorkeeper, publisher
from tests.integration.mqtt.websocket_bridge import bridge


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture
def mqtt(broker: Mosquitto) -> Iterator[settings.MqttSettings]:
    with bridge(broker.settings()) as made:
        yield made


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_and_replies_go_over_websockets(mqtt: settings.MqttSettings, version: str) -> None:
    mqtt = replace(mqtt, protocol_version=version, client_id=f"ws-{version}")
    with doorkeeper(mqtt) as keeper, publisher(mqtt) as sender:
        keeper.open()
        sender.open()
        for number in range(50):
            assert sender.publish(number, topic="qliksense/task/start", payload=b"x" * 3000)
            message = keeper.take()
            assert message.payload == b"x" * 3000
            keeper.acknowledge(message)
        until(lambda: len(sender.confirmed) == 50, what="all confirmed")


def test_websockets_are_encrypted_with_tls(broker: Mosquitto, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    tls = settings.MqttTls(enable=True, ca_file=tmp_path / "ca.pem")
    with bridge(broker.settings(), tmp_path / "server.pem") as plain:
        mqtt = replace(plain, tls=tls, client_id="ws-tls")
        with doorkeeper(mqtt) as keeper, publisher(mqtt) as sender:
            keeper.open()
            sender.open()
            assert sender.publish(1, topic="qliksense/task/start", payload=b"hello")
            keeper.acknowledge(keeper.take())


def test_a_session_kept_over_websockets_brings_what_came_meanwhile(mqtt: settings.MqttSettings) -> None:
    mqtt = replace(mqtt, client_id="ws-away")
    with doorkeeper(mqtt) as keeper:
        keeper.open()
    with publisher(mqtt) as sender:
        sender.open()
        assert sender.publish(1, topic="qliksense/task/start", payload=b"meanwhile")
        until(lambda: sender.confirmed == [1], what="confirmed")
    with doorkeeper(mqtt) as keeper:
        keeper.open()
        assert keeper.take().payload == b"meanwhile"
        assert keeper.sessions == [(1, True)]


def test_a_listener_without_websockets_is_tried_again_with_the_reason(broker: Mosquitto) -> None:
    mqtt = broker.settings(transport="websockets", client_id="ws-none")
    with doorkeeper(mqtt) as keeper:
        keeper.door.start()
        until(lambda: "WebSocket handshake error" in keeper.door.reason, what=keeper.door.reason)
        assert keeper.door.state is DoorState.CONNECTING
