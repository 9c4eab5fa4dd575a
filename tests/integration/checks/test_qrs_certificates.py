"""The lines about the certificates of the way to Qlik: files, and what the server shows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from butler_mqtt import settings
from butler_mqtt.checks import qlik, qrs_certificates
from butler_mqtt.checks.finding import State
from tests.integration.checks.site_and_broker import bad, by_name, site_settings
from tests.integration.simulator.running import Client, running

NOW = datetime.now(UTC)
PEM = Encoding.PEM
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make(
    file: Path,
    authority: trustme.CA,
    *,
    begins: timedelta = timedelta(days=-400),
    ends: timedelta = timedelta(days=100),
    names: tuple[x509.GeneralName, ...] = (x509.DNSName("QlikClient"),),
) -> None:
    """Write a certificate of `KEY` with chosen dates, issued by *authority*."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    key = load_pem_private_key(authority.private_key_pem.bytes(), None)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "QlikClient")]))
        .issuer_name(issuer.subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())  # type: ignore[arg-type] # trustme's keys are of a kind that signs
    )
    file.write_bytes(built.public_bytes(PEM))


def write_key(file: Path, password: bytes | None = None) -> Path:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    file.write_bytes(KEY.private_bytes(PEM, PrivateFormat.PKCS8, encryption))
    return file


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def exported(tmp_path: Path, authority: trustme.CA) -> settings.QrsSettings:
    """Give the three files of an export, all fine."""
    authority.cert_pem.write_to_path(str(tmp_path / "root.pem"))
    make(tmp_path / "client.pem", authority)
    return settings.QrsSettings(
        client_cert=tmp_path / "client.pem",
        client_cert_key=write_key(tmp_path / "client_key.pem"),
        client_cert_ca=tmp_path / "root.pem",
    )


def test_an_export_in_order_is_fine(exported: settings.QrsSettings) -> None:
    found = list(qrs_certificates.files(exported))
    assert bad(found) == {}
    assert [one.name for one in found] == [
        "qlik.clientCert",
        "qlik.clientCertCA",
        "qlik.clientCertKey",
        "qlik.issuer",
    ]


@pytest.mark.parametrize(
    ("begins", "ends", "state", "words"),
    [
        (-400, -1, State.WRONG, "expired on"),
        (2, 100, State.WRONG, "is not valid before"),
        (-400, 10, State.WARNING, "expires in 9 days"),
    ],
    ids=["expired", "early", "soon"],
)
def test_the_dates_of_a_certificate_are_judged(
    exported: settings.QrsSettings, authority: trustme.CA, begins: int, ends: int, state: State, words: str
) -> None:
    assert exported.client_cert is not None
    make(exported.client_cert, authority, begins=timedelta(days=begins), ends=timedelta(days=ends))
    found = list(qrs_certificates.files(exported))
    assert bad(found) == {"qlik.clientCert": state}
    assert words in by_name(found)["qlik.clientCert"].text


def test_a_key_of_another_certificate_is_wrong(exported: settings.QrsSettings, tmp_path: Path) -> None:
    other = trustme.CA().issue_cert("x")
    other.private_key_pem.write_to_path(str(tmp_path / "client_key.pem"))
    found = list(qrs_certificates.files(exported))
    assert bad(found) == {"qlik.clientCertKey": State.WRONG}
    assert "is not the key of" in by_name(found)["qlik.clientCertKey"].text


def test_a_key_with_a_password_is_wrong(exported: settings.QrsSettings, tmp_path: Path) -> None:
    write_key(tmp_path / "client_key.pem", b"secret-of-the-key")
    found = list(qrs_certificates.files(exported))
    assert bad(found) == {"qlik.clientCertKey": State.WRONG}
    assert "without a password" in by_name(found)["qlik.clientCertKey"].advice


def test_a_certificate_of_another_site_is_a_warning(exported: settings.QrsSettings, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "root.pem"))
    assert bad(qrs_certificates.files(exported)) == {"qlik.issuer": State.WARNING}


def test_a_file_that_is_no_certificate_is_wrong(exported: settings.QrsSettings, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("nothing\n")
    assert bad(qrs_certificates.files(exported)) == {"qlik.clientCertCA": State.WRONG}


def test_the_names_in_the_certificate_of_the_server_are_shown(site: Client) -> None:
    found = by_name(qrs_certificates.server(site_settings(site.simulator).qrs))["qlik.serverCertificate"]
    assert found.state is State.OK
    assert "sense1" in found.text


def test_a_server_name_that_the_certificate_lacks_is_wrong_and_the_names_are_told(site: Client) -> None:
    found = list(qlik.check(site_settings(site.simulator, server_name="sense.example.com")))
    assert bad(found) == {"qlik.serverCertificate": State.WRONG}
    line = by_name(found)["qlik.serverCertificate"]
    assert "sense1" in line.advice
    assert "configQRS.serverName" in line.advice


def test_a_ca_of_another_site_is_wrong_and_the_issuer_is_told(site: Client, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "root.pem"))
    found = list(qlik.check(site_settings(site.simulator, client_cert_ca=tmp_path / "root.pem")))
    assert bad(found) == {"qlik.issuer": State.WARNING, "qlik.serverCertificate": State.WRONG}
    line = by_name(found)["qlik.serverCertificate"]
    assert "QRS simulator" in line.text
    assert str(tmp_path / "root.pem") in line.advice


def test_a_server_that_is_not_verified_is_a_warning(site: Client) -> None:
    found = list(qlik.check(site_settings(site.simulator, reject_unauthorized=False)))
    assert bad(found) == {"qlik.serverCertificate": State.WARNING}


def test_a_client_certificate_that_the_server_refuses_is_wrong(
    site: Client, exported: settings.QrsSettings
) -> None:
    changes = {"client_cert": exported.client_cert, "client_cert_key": exported.client_cert_key}
    found = list(qlik.check(site_settings(site.simulator, **changes)))
    assert bad(found) == {"qlik.issuer": State.WARNING, "qlik.connection": State.WRONG}


def test_a_simulated_site_with_an_old_root_works(tmp_path: Path) -> None:
    with running(tmp_path / "certs", "--old-root") as simulator:
        assert bad(qlik.check(site_settings(simulator))) == {"qlik.oldRoot": State.WARNING}


@pytest.fixture
def expired_site(tmp_path: Path, authority: trustme.CA) -> Iterator[settings.Settings]:
    """Run a server whose own certificate ended yesterday."""
    folder = tmp_path / "certs"
    folder.mkdir()
    authority.cert_pem.write_to_path(str(folder / "root.pem"))
    make(folder / "client.pem", authority)
    write_key(folder / "client_key.pem")
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    make(folder / "server.pem", authority, ends=timedelta(days=-1), names=(address,))
    write_key(folder / "server_key.pem")
    with running(folder) as simulator:
        yield site_settings(simulator)


def test_an_expired_certificate_of_the_server_is_wrong(expired_site: settings.Settings) -> None:
    found = list(qlik.check(expired_site))
    assert bad(found) == {"qlik.serverCertificate": State.WRONG}
    line = by_name(found)["qlik.serverCertificate"]
    assert "expired" in line.text
    assert "new certificates" in line.advice
    assert "serverName" not in line.advice


def test_an_expired_certificate_of_the_server_is_named_though_it_is_not_verified(
    expired_site: settings.Settings,
) -> None:
    unverified = replace(expired_site, qrs=replace(expired_site.qrs, reject_unauthorized=False))
    found = [one for one in qlik.check(unverified) if one.name == "qlik.serverCertificate"]
    assert [one.state for one in found] == [State.WARNING, State.WRONG]
