"""The lines about the broker, on a real mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from butler_mqtt import settings
from butler_mqtt.checks import broker as trial
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.mqtt.probing import Probe
from tests.brokers import Mosquitto, free_port
from tests.checks.parts import bad, by_name, client_ids
from tests.integration.test_mqtt_scripted import (
    ACCEPTED,
    CONNECT,
    PUBLISH,
    SUBSCRIBE,
    Script,
    accept,
    scripted,
    suback,
)

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def check(broker: Mosquitto, **changes: object) -> list[Finding]:
    return list(trial.check(broker.settings(**changes)))


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
    assert "a client without a name" in findings[0].text


def test_a_broker_that_is_away_is_unreached() -> None:
    mqtt = settings.Mqtt(broker_host="127.0.0.1", broker_port=free_port())
    findings = list(trial.check(mqtt))
    assert bad(findings) == {"broker.login": State.UNREACHED}
    assert str(mqtt.broker_port) in findings[0].text


def test_a_host_that_no_one_knows_is_unreached() -> None:
    findings = list(trial.check(settings.Mqtt(broker_host="nowhere.invalid")))
    assert bad(findings) == {"broker.login": State.UNREACHED}


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


def test_a_reply_that_is_dropped_silently_on_3_1_1_is_a_warning(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, acl=NO_REPLIES) as broker:
        findings = check(broker, protocol_version="3.1.1")
    assert bad(findings) == {"broker.reply": State.WARNING}
    assert "silently" in by_name(findings)["broker.reply"].advice


NO_REPLIES = "topic read qliksense/#\ntopic write qliksense/butler/status\n"


@VERSIONS
def test_a_reply_that_may_be_written_and_not_read_is_a_warning(tmp_path: Path, version: str) -> None:
    acl = "topic write qliksense/#\ntopic read qliksense/task/start\ntopic read qliksense/butler/status\n"
    with Mosquitto(tmp_path, acl=acl) as broker:
        findings = check(broker, protocol_version=version)
    assert bad(findings) == {"broker.reply": State.WARNING}


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
    findings = list(trial.check(replace(mqtt, tls=replace(mqtt.tls, ca_file=other.directory / "ca.pem"))))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "caFile" in findings[0].text


def test_a_ca_file_that_is_none_is_wrong(encrypted: Mosquitto, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing\n")
    mqtt = encrypted.settings()
    findings = list(trial.check(replace(mqtt, tls=replace(mqtt.tls, ca_file=file))))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert str(file) in findings[0].text


def test_a_broker_that_asks_for_a_client_certificate_says_so(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True, client_certificates=True) as broker:
        assert bad(check(broker)) == {}
        mqtt = broker.settings()
        without = replace(mqtt, tls=replace(mqtt.tls, cert_file=None, key_file=None))
        findings = list(trial.check(without))
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


def confirm(body: bytes) -> bytes:
    """Answer PUBLISH, whose body begins with the topic and the packet id."""
    end = 2 + int.from_bytes(body[:2], "big")
    return b"\x40\x02" + body[end : end + 2]


#: A broker that takes everything and keeps nothing.
FORGETFUL: Script = {CONNECT: accept, SUBSCRIBE: suback(1), PUBLISH: confirm}


def test_a_broker_that_forgets_sessions_is_wrong() -> None:
    with scripted(FORGETFUL) as mqtt:
        found = by_name(trial.check(mqtt))
    assert found["broker.persistence"].state is State.WRONG
    assert "forgotten" in found["broker.persistence"].text


def test_a_broker_that_keeps_sessions_for_a_minute_is_a_warning() -> None:
    minute = b"\x20\x08" + ACCEPTED[2:4] + b"\x05\x11\x00\x00\x00\x3c"
    with scripted({**FORGETFUL, CONNECT: lambda _: minute}) as mqtt:
        found = by_name(trial.check(mqtt))
    assert found["broker.session"].state is State.WARNING
    assert "60 s" in found["broker.session"].text


def test_a_server_that_hangs_up_on_connect_is_wrong() -> None:
    with scripted({CONNECT: lambda _: b""}) as mqtt:
        findings = list(trial.check(mqtt))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "does it speak MQTT 5" in findings[0].text
