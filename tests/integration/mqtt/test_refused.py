"""What a broker, TLS or the network can say no to."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trustme

from butler_mqtt import settings
from butler_mqtt.mqtt.door_state import DoorState
from tests.brokers import Mosquitto, free_port, until
from tests.integration.mqtt.recording import VERSIONS, Doorkeeper, doorkeeper, plain_client, publisher

TOPIC = "qliksense/task/start"
STATUS = "qliksense/butler/status"


def refused(keeper: Doorkeeper) -> str:
    """Start the door, wait until it is refused, give the reason."""
    keeper.door.start()
    until(lambda: keeper.door.state is DoorState.REFUSED, what=f"refused; {keeper.door.reason}")
    assert keeper.states == [DoorState.REFUSED]
    return keeper.door.reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("user", "password"), [("butler", "wrong"), ("nobody", "secret"), (None, None)])
def test_wrong_credentials_are_refused_and_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, user: str | None, password: str | None
) -> None:
    with (
        Mosquitto(tmp_path / "broker", passwords={"butler": "secret"}) as broker,
        doorkeeper(broker.settings(protocol_version=version, username=user, password=password)) as keeper,
    ):
        assert "Not authorized" in refused(keeper)
    assert "wrong" not in caplog.text
    assert "secret" not in caplog.text
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [getattr(record, "action", "") for record in errors] == ["mqtt_refused"]


@pytest.mark.parametrize("version", VERSIONS)
def test_right_credentials_are_accepted(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path / "broker", passwords={"butler": "sécret"}) as broker:
        mqtt = broker.settings(protocol_version=version, username="butler", password="sécret")
        with doorkeeper(mqtt) as keeper:
            keeper.open()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_subscription_is_refused_with_its_topic_and_what_to_do(
    tmp_path: Path, version: str
) -> None:
    with (
        Mosquitto(tmp_path / "broker", refused_subscriptions=(TOPIC,)) as broker,
        doorkeeper(broker.settings(protocol_version=version)) as keeper,
    ):
        reason = refused(keeper)
        # Tried again, since an administrator may fix it.
        until(lambda: len(keeper.sessions) > 1, what="tried again")
        assert not keeper.door.ready
    assert TOPIC in reason
    assert "ACL" in reason


def test_a_subscription_granted_at_qos_0_only_is_refused(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", extra="max_qos 0") as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        assert "QoS" in refused(keeper)


def test_a_refused_subscription_to_the_status_topic_is_a_warning_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "broker", refused_subscriptions=(STATUS,)) as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.open()
    assert "mqtt_status_refused" in {getattr(record, "action", "") for record in caplog.records}


def test_a_status_that_may_not_be_written_is_a_warning_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "broker", acl=f"topic readwrite #\ntopic deny {STATUS}\n") as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.open()
        until(lambda: "mqtt_status_refused" in {getattr(record, "action", "") for record in caplog.records})
        assert keeper.door.ready


def test_a_broker_that_is_not_there_is_awaited(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    with doorkeeper(broker.settings()) as keeper:
        keeper.door.start()
        until(lambda: "refused" in keeper.door.reason.lower(), what="first attempt")
        assert keeper.door.state is DoorState.CONNECTING
        with broker:
            keeper.wait_ready()
            assert keeper.states == [DoorState.READY]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_a_host_name_that_leads_nowhere_is_tried_again(host: str) -> None:
    with doorkeeper(settings.MqttSettings(broker_host=host, broker_port=free_port())) as keeper:
        keeper.door.start()
        until(lambda: keeper.door.reason != "no answer yet", what="first attempt")
        assert (keeper.door.state, keeper.states) == (DoorState.CONNECTING, [])
        assert keeper.door.alive


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_and_replies_go_over_tls_with_client_certificates(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path / "broker", tls=True, client_certificates=True) as broker:
        mqtt = broker.settings(protocol_version=version)
        with doorkeeper(mqtt) as keeper, publisher(mqtt) as sender:
            keeper.open()
            sender.open().publish(1, "qliksense/erp")
            with plain_client(broker) as client:
                client.publish(TOPIC, "x" * 200_000)
            assert len(keeper.take().payload) == 200_000
            until(lambda: sender.confirmed == [1])


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with (
        Mosquitto(tmp_path / "broker", tls=True) as broker,
        doorkeeper(broker.settings(tls=settings.MqttTls(enable=True, ca_file=other))) as keeper,
    ):
        assert "certificate is not accepted" in refused(keeper)


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", tls=True, names=("elsewhere.test",)) as broker,
        doorkeeper(broker.settings()) as keeper,
    ):
        assert "certificate is not accepted" in refused(keeper)


def test_a_plain_listener_is_not_spoken_to_when_tls_is_asked_for(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        doorkeeper(broker.settings(tls=settings.MqttTls(enable=True))) as keeper,
    ):
        keeper.door.start()
        until(lambda: keeper.door.reason != "no answer yet", what="first attempt")
        assert keeper.sessions == []


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    for tls in (
        settings.MqttTls(enable=True, ca_file=gone),
        settings.MqttTls(enable=True, cert_file=gone, key_file=gone),
    ):
        with doorkeeper(settings.MqttSettings(broker_port=free_port(), tls=tls)) as keeper:
            assert str(gone) in refused(keeper)


def test_a_renewed_certificate_file_is_read_at_the_next_connection(tmp_path: Path) -> None:
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with (
        Mosquitto(tmp_path / "broker", tls=True) as broker,
        doorkeeper(broker.settings(tls=settings.MqttTls(enable=True, ca_file=other))) as keeper,
    ):
        refused(keeper)
        other.write_bytes((broker.directory / "ca.pem").read_bytes())
        keeper.wait_ready()


def test_replies_at_qos_0_only_are_not_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Mosquitto(tmp_path / "broker", extra="max_qos 0") as broker, publisher(broker.settings()) as sender:
        sender.replies.start()
        until(lambda: "QoS 0 only" in caplog.text, what="refused")
        assert not sender.publish(1)
        assert sender.rooms.empty()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_subscription_to_the_topic_of_a_sender_is_refused_likewise(
    tmp_path: Path, version: str
) -> None:
    mqtt = {"protocol_version": version, "sender_topics": ("start/erp",)}
    with (
        Mosquitto(tmp_path / "broker", refused_subscriptions=("start/erp",)) as broker,
        doorkeeper(broker.settings(**mqtt)) as keeper,
    ):
        assert refused(keeper).startswith("the subscription to start/erp was answered with 0x")
