"""The lines about certificates on the way to the broker, on a real mosquitto."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from butler_mqtt import settings
from butler_mqtt.checks import broker as trial
from butler_mqtt.checks.finding import Finding, State
from tests.brokers import Mosquitto
from tests.integration.checks.site_and_broker import bad, by_name
from tests.integration.checks.test_qrs_certificates import make, write_key

HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
OVER = timedelta(days=-2)


def encrypted(
    folder: Path,
    *,
    ends: timedelta = timedelta(days=100),
    name: x509.GeneralName = HERE,
    client_certificates: bool = False,
    authority: trustme.CA | None = None,
) -> Mosquitto:
    """Give a broker that is not started yet, with a certificate for *name* that *ends* then."""
    broker = Mosquitto(folder, tls=True, client_certificates=client_certificates)
    authority = authority or trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    make(folder / "server.pem", authority, ends=ends, names=(name,))
    with (folder / "server.pem").open("ab") as file:
        file.write(write_key(folder / "client_key.pem").read_bytes())
    make(folder / "client.pem", authority)
    return broker


def check(mqtt: settings.MqttSettings) -> list[Finding]:
    return list(trial.check(mqtt, settings.StartTask()))


def test_the_days_left_of_the_certificate_are_told(tmp_path: Path) -> None:
    with encrypted(tmp_path / "broker") as broker:
        findings = check(broker.settings())
    assert bad(findings) == {}
    assert "for 127.0.0.1 is valid for 99 more days" in by_name(findings)["broker.certificate"].text


def test_a_certificate_that_soon_expires_is_a_warning(tmp_path: Path) -> None:
    with encrypted(tmp_path / "broker", ends=timedelta(days=12)) as broker:
        findings = check(broker.settings())
    assert bad(findings) == {"broker.certificate": State.WARNING}
    assert "expires in 11 days" in by_name(findings)["broker.certificate"].text


def test_an_expired_certificate_is_wrong_and_the_only_thing_to_mend(tmp_path: Path) -> None:
    with encrypted(tmp_path / "broker", ends=OVER) as broker:
        findings = check(broker.settings())
    assert [(one.name, one.state) for one in findings] == [("broker.certificate", State.WRONG)]
    assert "certificate has expired" in findings[0].text
    assert "renew it at the broker" in findings[0].advice


def test_a_certificate_for_another_name_is_wrong_and_the_name_is_told(tmp_path: Path) -> None:
    with encrypted(tmp_path / "broker", name=x509.DNSName("broker.lab.local")) as broker:
        findings = check(broker.settings())
    assert bad(findings) == {"broker.certificate": State.WRONG}
    assert "set mqttConfig.brokerHost to broker.lab.local" in findings[0].advice


def over(authority: trustme.CA) -> bytes:
    """Give the certificate of a CA as it was before it was renewed: the same name and key, and expired."""
    now = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    builder = x509.CertificateBuilder(
        issuer_name=now.subject,
        subject_name=now.subject,
        public_key=now.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=datetime.now(UTC) - timedelta(days=400),
        not_valid_after=datetime.now(UTC) + OVER,
        extensions=list(now.extensions),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type] # a key that signs


def test_a_ca_that_has_expired_is_not_taken_for_the_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    old = tmp_path / "old.pem"
    old.write_bytes(over(authority))
    with encrypted(tmp_path / "broker", authority=authority) as broker:
        mqtt = broker.settings()
        findings = check(replace(mqtt, tls=replace(mqtt.tls, ca_file=old)))
    assert bad(findings) == {"broker.certificate": State.WRONG}
    assert "certificate has expired" in findings[0].text
    assert f"the CA in mqttConfig.tls.caFile ({old}) has expired" in findings[0].advice


def test_our_certificate_that_has_expired_is_wrong_before_the_broker_says_so(tmp_path: Path) -> None:
    broker = encrypted(tmp_path / "broker", client_certificates=True)
    authority = trustme.CA()
    make(broker.directory / "client.pem", authority, ends=OVER)
    with broker:
        findings = check(broker.settings())
    assert bad(findings) == {"broker.clientCert": State.WRONG, "broker.login": State.WRONG}
    assert "expired on" in by_name(findings)["broker.clientCert"].text


def test_our_certificate_of_another_ca_is_wrong_in_the_words_of_the_broker(tmp_path: Path) -> None:
    broker = encrypted(tmp_path / "broker", client_certificates=True)
    make(broker.directory / "client.pem", trustme.CA())
    with broker:
        findings = check(broker.settings())
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "unknown ca" in by_name(findings)["broker.login"].advice


def test_our_key_of_another_certificate_is_wrong(tmp_path: Path) -> None:
    broker = encrypted(tmp_path / "broker", client_certificates=True)
    other = trustme.CA().issue_cert("x")
    with broker:
        other.private_key_pem.write_to_path(str(broker.directory / "client_key.pem"))
        found = by_name(check(broker.settings()))
    assert found["broker.clientCertKey"].state is State.WRONG


def test_a_port_with_tls_that_is_spoken_to_without_is_named(tmp_path: Path) -> None:
    with encrypted(tmp_path / "broker") as broker:
        findings = check(replace(broker.settings(), tls=settings.MqttTls()))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "speaks TLS: set mqttConfig.tls.enable: true" in findings[0].advice


def test_a_port_without_tls_that_is_spoken_to_with_it_is_named(broker: Mosquitto) -> None:
    findings = check(broker.settings(tls=settings.MqttTls(enable=True)))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "tls.enable: false" in findings[0].advice


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_missing_certificate_of_ours_is_named(tmp_path: Path, version: str) -> None:
    with encrypted(tmp_path / "broker", client_certificates=True) as broker:
        mqtt = broker.settings(protocol_version=version)
        findings = check(replace(mqtt, tls=replace(mqtt.tls, cert_file=None, key_file=None)))
    assert bad(findings) == {"broker.login": State.WRONG}
    assert "set mqttConfig.tls.certFile" in by_name(findings)["broker.login"].advice
