"""The lines about the broker, on a real mosquitto."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from butler_mqtt import settings
from butler_mqtt.checks import broker as trial
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.mqtt.probe import Probe
from tests.brokers import Mosquitto, free_port, until
from tests.integration.checks.site_and_broker import bad, by_name, client_ids
from tests.integration.mqtt.recording import plain_client
from tests.scripted_broker import CONNECT, Packet, ScriptedBroker

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def tried(mqtt: settings.MqttSettings) -> list[Finding]:
    return list(trial.check(mqtt, settings.StartTask()))


def check(broker: Mosquitto, **changes: object) -> list[Finding]:
    return tried(broker.settings(**changes))


@VERSIONS
def test_nothing_is_wrong_with_a_good_broker(broker: Mosquitto, version: str) -> None:
    findings = check(broker, protocol_version=version)
    assert bad(findings) == {}
    assert {"broker.login", "broker.subscription", "broker.persistence", "broker.reply"} <= set(
        by_name(findings)
    )


@VERSIONS
def test_no_session_is_left_at_the_broker(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path) as broker:
        assert bad(check(broker, protocol_version=version)) == {}
        assert any(one.endswith("-absent") for one in client_ids(broker))
        for client_id in client_ids(broker):
            mqtt = broker.settings(protocol_version=version)
            with Probe(mqtt, client_id, keep_session=True) as probe:
                assert not probe.session_present, client_id


def test_no_session_is_left_when_the_trial_of_it_fails(tmp_path: Path) -> None:
    acl = "topic readwrite qliksense/task/#\ntopic read qliksense/butler/status\n"
    with Mosquitto(tmp_path, acl=acl) as broker:
        found = by_name(check(broker))
        assert found["broker.persistence"].state is State.WRONG
        assert "Not authorized" in found["broker.persistence"].text
        absent = [one for one in client_ids(broker) if one.endswith("-absent")]
        with Probe(broker.settings(), absent[0], keep_session=True) as probe:
            assert not probe.session_present


@VERSIONS
def test_a_wrong_password_is_named_and_not_told(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path, passwords={"butler": "right"}) as broker:
        findings = check(broker, protocol_version=version, username="butler", password="very-wrong-1")
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "user butler" in findings[0].text
    assert "very-wrong-1" not in str(findings)


def test_a_missing_user_is_named(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, passwords={"butler": "right"}) as broker:
        findings = check(broker)
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "a client without a user name" in findings[0].text


def test_a_broker_that_is_away_is_unreached() -> None:
    mqtt = settings.MqttSettings(broker_host="127.0.0.1", broker_port=free_port())
    findings = tried(mqtt)
    assert bad(findings) == {"broker.login": State.UNREACHABLE}
    assert str(mqtt.broker_port) in findings[0].text


def test_a_host_that_no_one_knows_is_unreached() -> None:
    findings = tried(settings.MqttSettings(broker_host="nowhere.invalid"))
    assert bad(findings) == {"broker.login": State.UNREACHABLE}


@VERSIONS
def test_a_refused_subscription_is_wrong(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path, refused_subscriptions=("qliksense/task/start",)) as broker:
        findings = check(broker, protocol_version=version)
    assert bad(findings) == {"broker.subscription": State.WRONG}


def test_a_reply_that_mqtt_5_says_is_not_allowed_is_wrong(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, acl=NO_REPLIES) as broker:
        findings = check(broker)
    assert bad(findings) == {"broker.reply": State.WRONG}
    assert "Not authorized" in by_name(findings)["broker.reply"].text


def test_a_reply_that_is_dropped_silently_on_3_1_1_is_wrong_with_the_reason_of_mqtt_5(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, acl=NO_REPLIES) as broker:
        findings = check(broker, protocol_version="3.1.1")
    assert bad(findings) == {"broker.reply": State.WRONG}
    line = by_name(findings)["broker.reply"]
    assert "silently drops" in line.text
    assert "Not authorized" in line.text


NO_REPLIES = "topic read qliksense/#\ntopic write qliksense/butler/status\n"


@VERSIONS
def test_a_reply_that_may_be_written_and_not_read_is_a_warning(tmp_path: Path, version: str) -> None:
    acl = "topic write qliksense/#\ntopic read qliksense/task/start\ntopic read qliksense/butler/status\n"
    with Mosquitto(tmp_path, acl=acl) as broker:
        findings = check(broker, protocol_version=version)
    assert bad(findings) == {"broker.reply": State.WARNING}
    assert "this user may not read it back" in by_name(findings)["broker.reply"].text


def test_a_reply_that_an_mqtt_3_1_1_broker_may_drop_is_a_warning_with_both_causes() -> None:
    # Knows no MQTT 5, takes everything and hands nothing on.
    def greet(body: bytes) -> bytes:
        return b"\x20\x02\x00\x00" if body[6] == 4 else b"\x20\x02\x00\x01"

    with ScriptedBroker(version="3.1.1", answers={CONNECT: greet}) as broker:
        found = by_name(tried(broker.settings()))
    assert found["broker.reply"].state is State.WARNING
    assert "silently" in found["broker.reply"].advice


def test_a_broker_that_speaks_3_1_1_only_is_named(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "butler_mqtt.demo.embedded_broker", str(port)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until(lambda: answers(port), what=(tmp_path / "log").read_text())
            findings = tried(settings.MqttSettings(broker_host="127.0.0.1", broker_port=port))
            old = tried(
                settings.MqttSettings(broker_host="127.0.0.1", broker_port=port, protocol_version="3.1.1")
            )
        finally:
            process.kill()
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "set mqttConfig.protocolVersion: 3.1.1" in findings[0].advice
    assert by_name(old)["broker.login"].state is State.OK


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_message_that_an_acl_keeps_from_an_absent_session_is_wrong(tmp_path: Path) -> None:
    acl = "topic readwrite qliksense/task/#\ntopic read qliksense/butler/status\n"
    with Mosquitto(tmp_path, acl=acl) as broker:
        findings = check(broker, protocol_version="3.1.1")
    assert bad(findings) == {"broker.persistence": State.WRONG}
    assert "did not arrive" in by_name(findings)["broker.persistence"].text


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "encrypted", tls=True) as made:
        yield made


def test_tls_with_the_right_ca_is_fine(encrypted: Mosquitto) -> None:
    assert bad(check(encrypted)) == {}


def test_tls_with_another_ca_is_wrong(encrypted: Mosquitto, tmp_path: Path) -> None:
    other = Mosquitto(tmp_path / "other", tls=True)
    mqtt = encrypted.settings()
    findings = tried(replace(mqtt, tls=replace(mqtt.tls, ca_file=other.directory / "ca.pem")))
    assert bad(findings) == {"broker.certificate": State.WRONG}
    assert str(other.directory / "ca.pem") in findings[0].advice


def test_a_ca_file_that_is_none_is_wrong(encrypted: Mosquitto, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing\n")
    mqtt = encrypted.settings()
    findings = tried(replace(mqtt, tls=replace(mqtt.tls, ca_file=file)))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert str(file) in findings[0].text


def test_a_broker_that_asks_for_a_client_certificate_says_so(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True, client_certificates=True) as broker:
        assert bad(check(broker)) == {}
        mqtt = broker.settings()
        without = replace(mqtt, tls=replace(mqtt.tls, cert_file=None, key_file=None))
        findings = tried(without)
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "certificate" in findings[0].text


@pytest.mark.parametrize(
    ("extra", "name", "state"),
    [
        ("max_qos 0", "broker.qos", State.WRONG),
        ("retain_available false", "broker.retain", State.WARNING),
    ],
)
def test_a_broker_that_grants_less_is_named(tmp_path: Path, extra: str, name: str, state: State) -> None:
    with Mosquitto(tmp_path, extra=extra) as broker:
        assert bad(check(broker))[name] is state


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("", "20 replies and events"),
        ("max_inflight_messages 3", "only 3 messages"),
    ],
)
def test_the_receive_maximum_of_the_broker_is_shown(tmp_path: Path, extra: str, words: str) -> None:
    with Mosquitto(tmp_path, extra=extra) as broker:
        findings = check(broker)
    line = by_name(findings)["broker.receiveMaximum"]
    assert words in line.text
    assert bad(findings) == ({"broker.receiveMaximum": State.WARNING} if extra else {})
    assert ("max_inflight_messages" in line.advice) == bool(extra)


def test_packets_that_the_broker_says_are_too_large_are_a_warning(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra="max_packet_size 20000") as broker:
        findings = check(broker)
    assert bad(findings) == {"broker.packetSize": State.WARNING}
    line = by_name(findings)["broker.packetSize"]
    assert "20000 bytes" in line.text
    assert "maxPayloadBytes" in line.text
    assert "maxTasksPerRequest" in line.text
    assert "max_packet_size" in line.advice


def test_packets_large_enough_for_all_but_requests_are_a_warning(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra="max_packet_size 100000") as broker:
        findings = check(broker)
    assert bad(findings) == {"broker.packetSize": State.WARNING}
    assert "maxTasksPerRequest" not in by_name(findings)["broker.packetSize"].text


@VERSIONS
def test_a_size_that_no_connack_tells_is_found_by_trying(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path, extra="message_size_limit 1000") as broker:
        findings = check(broker, protocol_version=version)
    assert bad(findings) == {"broker.messageSize": State.WARNING}
    assert "message_size_limit" in by_name(findings)["broker.messageSize"].advice


def test_a_message_as_large_as_the_limit_of_the_shipped_broker_arrives(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra="message_size_limit 262144") as broker:
        findings = check(broker)
    assert bad(findings) == {}
    assert "262144 bytes" in by_name(findings)["broker.messageSize"].text


def test_what_is_granted_as_asked_is_told(broker: Mosquitto) -> None:
    found = by_name(check(broker, session_expiry_seconds=7200))
    assert "7200 s (2 hours)" in found["broker.session"].text
    assert "kept" in found["broker.retain"].text


# The scripted broker takes everything and keeps nothing.


def test_a_broker_that_drops_sessions_is_wrong() -> None:
    with ScriptedBroker() as broker:
        found = by_name(tried(broker.settings()))
    assert found["broker.persistence"].state is State.WRONG
    assert "dropped the session" in found["broker.persistence"].text


def test_a_broker_that_keeps_sessions_for_a_minute_is_a_warning() -> None:
    with ScriptedBroker(connack_properties=b"\x11\0\0\0\x3c") as broker:
        found = by_name(tried(broker.settings()))
    assert found["broker.session"].state is State.WARNING
    assert "60 s" in found["broker.session"].text


def test_a_broker_that_keeps_no_session_says_so() -> None:
    # Asked as the daemon asks, the broker says what it grants: here nothing at all.
    with ScriptedBroker(connack_properties=b"\x11\0\0\0\0") as broker:
        found = by_name(tried(broker.settings()))
    assert "for 0 s (not kept)" in found["broker.session"].text


def test_a_server_that_hangs_up_on_connect_is_wrong() -> None:
    with ScriptedBroker(hangs_up_on=lambda packet: packet.kind == CONNECT) as broker:
        findings = tried(broker.settings())
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "does it speak MQTT 5" in findings[0].text


# ---- another version of MQTT, and the will


def only(version: str, refusal: bytes) -> ScriptedBroker:
    """Return a broker that accepts CONNECT of one version and answers that of another with *refusal*."""
    accepted = b"\x20\x02\x00\x00" if version == "3.1.1" else b"\x20\x03\x00\x00\x00"
    level = 4 if version == "3.1.1" else 5
    return ScriptedBroker(answers={CONNECT: lambda body: accepted if body[6] == level else refusal})


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        ("3.1.1", b"\x20\x03\x00\x84\x00"),
        ("3.1.1", b"\x20\x03\x00\x01\x00"),
        ("3.1.1", b"\x20\x02\x00\x01"),
        ("3.1.1", b"\x20\x02\x00\x05"),
        ("3.1.1", b"\x20\x02\x00\x00"),
        ("3.1.1", b""),
        ("5", b"\x20\x02\x00\x01"),
        ("5", b"\x20\x03\x00\x84\x00"),
        ("5", b""),
    ],
    ids=["0x84", "0x01 of 5", "0x01", "0x05", "0x00", "hang-up", "5: 0x01", "5: 0x84", "5: hang-up"],
)
def test_a_broker_of_one_version_is_named_however_it_refuses_another(version: str, refusal: bytes) -> None:
    other = "3.1.1" if version == "5" else "5"
    with only(version, refusal) as broker:
        findings = tried(broker.settings(protocol_version=other))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert f"speaks MQTT {version} only: set mqttConfig.protocolVersion: {version}" in findings[0].advice


def test_a_broker_of_3_1_1_that_refuses_the_login_too_names_both_settings() -> None:
    with ScriptedBroker(answers={CONNECT: lambda _body: b"\x20\x02\x00\x05"}) as broker:
        findings = tried(broker.settings())
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "set mqttConfig.protocolVersion: 3.1.1; if it is still refused" in findings[0].advice
    assert "mqttConfig.username" in findings[0].advice


@VERSIONS
def test_a_will_that_the_broker_refuses_is_told_from_a_login(version: str) -> None:
    def refuse_will(connect: Packet) -> int:
        refusal = 0x87 if connect.is_v5 else 5
        return refusal if connect.will else 0

    with ScriptedBroker(version=version, connack=refuse_will) as broker:
        findings = tried(broker.settings(username="butler"))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "because of the will, without which it accepts" in findings[0].text
    assert "let user butler publish retained messages to qliksense/butler/status" in findings[0].advice
    assert "password" not in findings[0].advice


@VERSIONS
def test_a_broker_that_hangs_up_on_the_will_is_told_from_one_of_another_version(version: str) -> None:
    broker = ScriptedBroker(version=version, hangs_up_on=lambda packet: bool(packet.will))
    with broker:
        findings = tried(broker.settings())
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "because of the will" in findings[0].text


@VERSIONS
def test_a_login_that_is_refused_without_a_will_too_is_about_the_login(version: str) -> None:
    with ScriptedBroker(version=version, connack=0x87 if version == "5" else 5) as broker:
        findings = tried(broker.settings(username="butler"))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "with the will and without" in findings[0].text
    assert "password" in findings[0].advice


def test_the_will_of_a_check_is_never_published(broker: Mosquitto) -> None:
    with plain_client(broker, "qliksense/butler/status") as client:
        assert bad(check(broker)) == {}
        client.publish("qliksense/butler/status", "last")
        seen: list[bytes] = []
        while not seen or seen[-1] != b"last":
            seen.append(bytes(client.take().payload))
    assert not [payload for payload in seen if b"offline" in payload]


def test_each_rule_is_shown_with_what_it_subscribes_to_and_whether_that_is_granted(tmp_path: Path) -> None:
    rules = [
        settings.RuleSettings("orders", topics=("erp/+/orders",)),
        settings.RuleSettings("secrets", topics=("erp/#", "secret/#")),
        settings.RuleSettings("off", enable=False, topics=("mes/#",)),
    ]
    with Mosquitto(tmp_path, refused_subscriptions=("secret/#",)) as broker:
        found = [
            (one.state, one.text)
            for one in trial.check(broker.settings(), settings.StartTask(), rules)
            if one.name == "broker.rule"
        ]
    assert [state for state, _ in found] == [State.OK, State.WRONG, State.OK]
    assert "off is off" in found[2][1]
    assert "orders: erp/+/orders" in found[0][1]
    assert "secret/#" in found[1][1]
    assert "erp/#" not in found[1][1]
