"""Sites whose root Qlik Sense made about 2015 to 2019, which OpenSSL takes for no CA."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import QrsSettings
from tests.integration.qrs import tls_sites
from tests.integration.qrs.tls_sites import CLIENT, OLD_ROOT, ROOT, SENSE, Site, settings_of

TASK = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
OLD = Site(root=OLD_ROOT)


@contextmanager
def connected(settings: QrsSettings) -> Iterator[RepositoryConnection]:
    connection = RepositoryClient(settings, threading.Event()).connection()
    try:
        yield connection
    finally:
        connection.close()


def started(settings: QrsSettings) -> str | None:
    with connected(settings) as connection:
        return connection.start(TASK)


@pytest.mark.parametrize(
    "site",
    [OLD, replace(OLD, demands=False), replace(OLD, sends_root=True)],
    ids=["client certificates", "its own certificate alone", "root sent along"],
)
def test_its_server_is_verified_and_used(tmp_path: Path, site: Site) -> None:
    with tls_sites.running(tmp_path, site) as server:
        assert started(settings_of(tmp_path, server.port, site)) == RUN


def test_a_certificate_that_its_server_renewed_is_used_at_once(tmp_path: Path) -> None:
    for number in (1, 5):
        site = replace(OLD, server=replace(SENSE, number=number))
        with tls_sites.running(tmp_path, site) as server:
            assert started(settings_of(tmp_path, server.port, site)) == RUN


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signer": replace(OLD_ROOT, number=9)}, "signature failure"),
        ({"server": replace(SENSE, days=(-9, -1))}, "certificate has expired"),
        ({"server": replace(SENSE, days=(1, 9))}, "not yet valid"),
        ({"server": replace(SENSE, names=(x509.DNSName("sense2"),))}, "IP address mismatch"),
        ({"server": replace(SENSE, purpose=CLIENT)}, "purpose"),
        ({"server": replace(SENSE, bits=1024)}, "key too weak"),
        ({"server": replace(SENSE, sha1=True)}, "too weak"),
        ({"root": replace(OLD_ROOT, days=(-9, -1))}, "certificate has expired"),
        ({"root": replace(OLD_ROOT, ca=False)}, "invalid CA certificate"),
        ({"root": replace(OLD_ROOT, names=SENSE.names)}, "invalid CA certificate"),
    ],
    ids=[
        "another CA with its name and key id",
        "expired",
        "early",
        "another host",
        "another purpose",
        "short key",
        "SHA-1",
        "expired root",
        "root that says it is no CA",
        "root that is some server's own certificate",
    ],
)
def test_any_other_certificate_is_refused_before_a_byte_of_http(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    site = replace(OLD, **changes)  # type: ignore[arg-type] # a test names fields it knows
    with tls_sites.running(tmp_path, site) as server:
        with pytest.raises(QlikUnavailable, match=words):
            started(settings_of(tmp_path, server.port, site))
        assert server.calls == []


def test_another_site_of_the_same_kind_is_refused(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    tls_sites.write(ours, OLD)
    other = replace(OLD, root=replace(OLD_ROOT, name="other-CA", number=9), demands=False)
    with tls_sites.running(theirs, other) as server:
        with pytest.raises(QlikUnavailable, match=r"must be the root\.pem of this Qlik site"):
            started(settings_of(ours, server.port, OLD))
        assert server.calls == []


def test_what_a_certificate_of_the_site_signs_is_refused(tmp_path: Path) -> None:
    """Whoever has a client certificate could else make one for the server."""
    site = replace(OLD, demands=False)
    forged = tls_sites.certificate(replace(SENSE, number=7), tls_sites.QLIK_CLIENT)
    tls_sites.write(tmp_path, replace(site, server=replace(SENSE, number=7)))
    chain = forged.public_bytes(tls_sites.PEM) + (tmp_path / "client.pem").read_bytes()
    (tmp_path / "server.pem").write_bytes(chain)
    with tls_sites.serving(tmp_path, site) as server:
        with pytest.raises(QlikUnavailable, match="invalid CA certificate"):
            started(settings_of(tmp_path, server.port, site))
        assert server.calls == []


@pytest.mark.parametrize("which", [0, 1], ids=["old", "new"])
def test_a_file_may_hold_an_old_root_and_a_new_one(tmp_path: Path, which: int) -> None:
    sites = OLD, Site(root=replace(ROOT, name="new-CA", number=4))
    folders = tmp_path / "old", tmp_path / "new"
    for folder, site in zip(folders, sites, strict=True):
        folder.mkdir()
        tls_sites.write(folder, site)
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join((folder / "root.pem").read_bytes() for folder in folders))
    site, folder = sites[which], folders[which]
    with tls_sites.serving(folder, site) as server:
        assert started(settings_of(folder, server.port, site, client_cert_ca=both)) == RUN


def test_the_server_is_shown_the_root_of_the_file_and_not_what_stands_in_for_it(tmp_path: Path) -> None:
    chains: list[list[bytes]] = []
    with tls_sites.running(tmp_path, OLD) as server:
        server.wrapped = lambda peer: chains.append(list(peer._sslobj.get_unverified_chain()))  # type: ignore[attr-defined] # public from Python 3.13 on
        started(settings_of(tmp_path, server.port, OLD))
    files = [(tmp_path / name).read_text() for name in ("client.pem", "root.pem")]
    assert [one.public_bytes(1) for one in chains[0]] == [  # type: ignore[attr-defined] # a certificate of `ssl`
        x509.load_pem_x509_certificate(file.encode()).public_bytes(tls_sites.PEM).decode() for file in files
    ]


def test_a_root_made_with_openssl_alone_is_verified(tmp_path: Path) -> None:
    """Made as the recipe of the field has it: no extension but key identifiers and a private one."""
    config = tmp_path / "ext.cnf"
    config.write_text(
        "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = sense-CA\n[root]\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        "1.3.6.1.5.5.7.13.3 = ASN1:UTF8String:QlikShape\n"
    )
    tls_sites.write(tmp_path, OLD)
    made = (
        "openssl req -x509 -key root_key.pem -sha256 -days 9 -config ext.cnf -extensions root -out root.pem"
    )
    subprocess.run(made.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    with tls_sites.serving(tmp_path, OLD) as server:
        assert started(settings_of(tmp_path, server.port, OLD)) == RUN


def test_openssl_itself_still_refuses_such_a_root(tmp_path: Path) -> None:
    """Otherwise the stand-in has had its day."""
    site = replace(OLD, demands=False)
    with tls_sites.running(tmp_path, site) as server:
        plain = ssl.create_default_context(cafile=tmp_path / "root.pem")
        with pytest.raises(ssl.SSLCertVerificationError, match="invalid CA certificate"):
            ssl.get_server_certificate(("127.0.0.1", server.port), ca_certs=str(tmp_path / "root.pem"))
    assert plain.cert_store_stats()["x509_ca"] == 0
