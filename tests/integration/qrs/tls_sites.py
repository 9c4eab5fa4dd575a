"""
Qlik sites with something odd about their TLS: real certificates, real servers.

A further case is one more line in `FAULTS`.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import struct
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from butler_mqtt.settings import QrsSettings, Retry
from tests.integration.qrs.scripted_server import Answers, Server, reply

PEM = Encoding.PEM
NOW = datetime.now(UTC)
#: What Qlik's own tools write into certificates of 2015 to 2019, beside key identifiers.
PRIVATE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.13.3"), b"\x0c\x09QlikShape")
ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
STARTED = reply(201, {"value": "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"})
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Shape:
    """What a certificate is like; `days` are those from now in which it is valid."""

    name: str
    days: tuple[int, int] = (-10, 100)
    names: tuple[x509.GeneralName, ...] = ()
    bits: int = 2048
    purpose: x509.ObjectIdentifier | None = None
    ca: bool | None = None  #: basicConstraints; None for none at all
    sha1: bool = False
    #: Which key of its kind; others have other numbers.
    number: int = 0


ROOT = Shape("sense-CA", ca=True)
OLD_ROOT = replace(ROOT, ca=None)
SENSE = Shape("sense", names=(ADDRESS,), number=1)
QLIK_CLIENT = Shape("QlikClient", number=2)


class PlainServer(Server):
    """A web server without TLS."""

    def _serve(self, raw: socket.socket, context: ssl.SSLContext | None, connection: int) -> None:  # noqa: ARG002 -- as the base class has it
        with raw:
            raw.recv(1000)
            raw.sendall(reply(400))
        self.closed.release()


class ResettingServer(Server):
    """A server that resets each connection when TLS begins."""

    def _serve(self, raw: socket.socket, context: ssl.SSLContext | None, connection: int) -> None:  # noqa: ARG002 -- as the base class has it
        raw.recv(1000)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        self.closed.release()


@dataclass(frozen=True)
class Site:
    """The certificates of a site and how its server speaks TLS."""

    root: Shape = ROOT
    server: Shape = SENSE
    client: Shape = QLIK_CLIENT
    #: What signs the server's certificate, with the name and key identifier of the root, if not the root.
    signer: Shape | None = None
    demands: bool = True  #: a client certificate of the root
    sends_root: bool = False
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ciphers: str = "DEFAULT@SECLEVEL=0"
    kind: type[Server] = Server
    #: Files of ours that are each other's, by the field of the settings.
    ours: dict[str, str] = field(default_factory=dict)


@cache
def key(bits: int, number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _key(shape: Shape) -> rsa.RSAPrivateKey:
    return key(shape.bits, shape.number)


def certificate(shape: Shape, issuer: Shape, signer: Shape | None = None) -> x509.Certificate:
    """Make a certificate by *issuer*, whose signature *signer* can forge."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(_key(issuer).public_key())
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(shape),
        public_key=_key(shape).public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW + timedelta(days=shape.days[0]),
        not_valid_after=NOW + timedelta(days=shape.days[1]),
        extensions=[
            x509.Extension(value.oid, shape.ca is not None and value.oid == x509.BasicConstraints.oid, value)
            for value in _extensions(shape, identifier)
        ],
    )
    return builder.sign(_key(signer or issuer), hashes.SHA256())


def _extensions(shape: Shape, issuer: x509.SubjectKeyIdentifier) -> Iterator[x509.ExtensionType]:
    yield x509.SubjectKeyIdentifier.from_public_key(_key(shape).public_key())
    yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
    yield PRIVATE
    if shape.names:
        yield x509.SubjectAlternativeName(shape.names)
    if shape.purpose is not None:
        yield x509.ExtendedKeyUsage([shape.purpose])
    if shape.ca is not None:
        yield x509.BasicConstraints(shape.ca, None)


def _name(shape: Shape) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, shape.name)])


def write(folder: Path, site: Site) -> None:
    """Write the files of an export, and those of the server."""
    (folder / "root.pem").write_bytes(certificate(site.root, site.root).public_bytes(PEM))
    # With the same name and key, by which a server that runs on OpenSSL can check its clients.
    ca = replace(site.root, ca=True)
    (folder / "ca.pem").write_bytes(certificate(ca, ca).public_bytes(PEM))
    for name, shape in (("root", site.root), ("server", site.server), ("client", site.client)):
        secret = _key(shape).private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}_key.pem").write_bytes(secret)
    for name, shape in (("server", site.server), ("client", site.client)):
        signer = site.signer if name == "server" else None
        (folder / f"{name}.pem").write_bytes(certificate(shape, site.root, signer).public_bytes(PEM))
        if shape.sha1:
            _sign_with_sha1(folder, name, shape)
    if site.sends_root:
        chain = (folder / "server.pem").read_bytes() + (folder / "root.pem").read_bytes()
        (folder / "server.pem").write_bytes(chain)


def _sign_with_sha1(folder: Path, name: str, shape: Shape) -> None:
    """Make a certificate whose signature the library of the others does not make any more."""
    request = x509.CertificateSigningRequestBuilder(_name(shape))
    if shape.names:
        request = request.add_extension(x509.SubjectAlternativeName(shape.names), critical=False)
    (folder / f"{name}.csr").write_bytes(request.sign(_key(shape), hashes.SHA256()).public_bytes(PEM))
    command = f"openssl x509 -req -in {name}.csr -CA ca.pem -CAkey root_key.pem -CAcreateserial"
    command += f" -copy_extensions copy -days 9 -sha1 -out {name}.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)


def context(folder: Path, site: Site) -> ssl.SSLContext:
    """Return the TLS context of the server."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers(site.ciphers)
    made.load_cert_chain(folder / "server.pem", folder / "server_key.pem")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the versions that a test wants
        made.minimum_version, made.maximum_version = site.versions
    if site.demands:
        made.load_verify_locations(folder / "ca.pem")
        made.verify_mode = ssl.CERT_REQUIRED
    return made


@contextmanager
def running(folder: Path, site: Site, answers: Answers = lambda _: STARTED) -> Iterator[Server]:
    """Write the files and run the server."""
    write(folder, site)
    with serving(folder, site, answers) as server:
        yield server


@contextmanager
def serving(folder: Path, site: Site, answers: Answers = lambda _: STARTED) -> Iterator[Server]:
    """Run the server on a free port of 127.0.0.1, with the files that are there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = site.kind(listener.getsockname()[1], answers)
        thread = threading.Thread(target=server.run, args=(listener, context(folder, site)))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def settings_of(folder: Path, port: int, site: Site, **changes: object) -> QrsSettings:
    """Return settings for the server, with the files of the export."""
    files = {"client_cert": "client.pem", "client_cert_key": "client_key.pem", "client_cert_ca": "root.pem"}
    files |= site.ours
    values = {"host": "127.0.0.1", "port": port, "retry": Retry(attempts=1, max_seconds=5)}
    values |= {name: folder / file for name, file in files.items()}
    return QrsSettings(**(values | changes))  # type: ignore[arg-type] # checked by the tests that use it


@dataclass(frozen=True)
class Fault:
    """A site that cannot be spoken to: the lines of `check`, and the words of the last and of errors."""

    site: Site
    lines: tuple[str, ...]
    words: str
    advice: str


_OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
_ONLY_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
_SERVER_LINE, _CONNECTION = ("qlik.serverCertificate",), ("qlik.connection",)
_OURS, _KEY = ("qlik.clientCert",), ("qlik.clientCertKey",)
FAULTS = {
    "TLS 1.1": Fault(Site(versions=_OLD), _CONNECTION, "protocol version", "speaks no TLS 1.2"),
    "no cipher suite": Fault(
        Site(versions=_ONLY_12, ciphers="CAMELLIA128-SHA"), _CONNECTION, "handshake", "no cipher suite"
    ),
    "no TLS": Fault(Site(kind=PlainServer), _CONNECTION, "wrong version number", "does not speak TLS"),
    "server's purpose": Fault(
        Site(server=replace(SENSE, purpose=CLIENT)), _SERVER_LINE, "purpose", "not made for servers"
    ),
    "server's key": Fault(
        Site(server=replace(SENSE, bits=1024)), _SERVER_LINE, "key too weak", "RSA needs 2048 bits"
    ),
    "root's key": Fault(Site(root=replace(ROOT, bits=1024)), _SERVER_LINE, "key too weak", "2048 bits"),
    "server's SHA-1": Fault(Site(server=replace(SENSE, sha1=True)), _SERVER_LINE, "too weak", "SHA-1"),
    "server's dates": Fault(Site(server=replace(SENSE, days=(-9, -1))), _SERVER_LINE, "expired", "make new"),
    "server's name": Fault(
        Site(server=replace(SENSE, names=(x509.DNSName("sense1"),))), _SERVER_LINE, "IP address", "serverName"
    ),
    "another CA": Fault(
        Site(signer=replace(ROOT, number=9)), _SERVER_LINE, "signature failure", "root.pem"
    ),
    "client's purpose, TLS 1.3": Fault(
        Site(client=replace(QLIK_CLIENT, purpose=SERVER)), _CONNECTION, "our certificate", "client.pem"
    ),
    "client's purpose, TLS 1.2": Fault(
        Site(client=replace(QLIK_CLIENT, purpose=SERVER), versions=_ONLY_12),
        _CONNECTION,
        "unsupported certificate",
        "not made for clients",
    ),
    "client's dates": Fault(
        Site(client=replace(QLIK_CLIENT, days=(-9, -1)), versions=_ONLY_12),
        _OURS + _CONNECTION,
        "certificate expired",
        "not expired",
    ),
    "no client certificate that it likes": Fault(
        Site(ours={"client_cert": "server.pem", "client_cert_key": "server_key.pem"}, versions=_ONLY_12,
             server=replace(SENSE, purpose=SERVER)),
        _CONNECTION,
        "unsupported certificate",
        "not made for clients",
    ),
}  # fmt: skip
#: Files of ours that do not fit; the line of `check` is theirs.
OWN_FAULTS = {
    "swapped": Fault(
        Site(ours={"client_cert": "client_key.pem", "client_cert_key": "client.pem"}),
        _OURS + _KEY,
        "holds a ",
        "are certificate and key swapped?",
    ),
    "another key": Fault(Site(ours={"client_cert_key": "server_key.pem"}), _KEY, "key", "same export"),
    "client's key": Fault(Site(client=replace(QLIK_CLIENT, bits=1024)), _OURS, "key too small", "2048 bits"),
    "client's SHA-1": Fault(Site(client=replace(QLIK_CLIENT, sha1=True)), _OURS, "md too weak", "SHA-1"),
}
