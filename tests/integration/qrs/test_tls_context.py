"""TLS as Qlik servers speak it: a certificate asked for late, and CAs without what RFC 5280 wants."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from butler_mqtt.domain.model import Task
from butler_mqtt.qrs.repository import RepositoryClient
from tests.integration.qrs.scripted_server import (
    Files,
    make_files,
    reply,
    server_context,
    serving,
    settings_for,
)

TASK = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
STARTED = reply(201, {"value": RUN})
SECONDS = 5.0


class AsksLate:
    """
    A server that asks for the client certificate when the request is there, as HTTP.sys may in TLS 1.3.

    It resets the connection of a client that cannot give one then.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.names: list[str] = []

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as peer:
                peer.settimeout(SECONDS)
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += peer.recv(1000)
                peer.verify_client_post_handshake()
                # The question goes with what is written next, the answer is read with what is read next.
                peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                peer.settimeout(0.0)
                while (certificate := peer.getpeercert()) is None:
                    try:
                        peer.recv(1)
                    except ssl.SSLWantReadError:
                        threading.Event().wait(0.01)
                self.names.append(str(certificate["subjectAltName"]))
                peer.settimeout(SECONDS)
                peer.sendall(STARTED)
        except OSError:
            pass


@contextmanager
def asking_late(files: Files) -> Iterator[AsksLate]:
    context = server_context(files)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.post_handshake_auth = True
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = AsksLate(listener.getsockname()[1])
        thread = threading.Thread(target=server.serve, args=(listener, context), daemon=True)
        thread.start()
        yield server
        thread.join(SECONDS)


def test_a_client_certificate_asked_for_after_the_handshake_is_given(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    with asking_late(files) as server:
        connection = RepositoryClient(settings_for(server, files), threading.Event()).connection()
        assert connection.start(TASK) == RUN
        connection.close()
    assert server.names == ["(('DNS', 'client'),)"]


def site_without_key_usage(folder: Path) -> Files:
    """Make a site whose CA is as Qlik makes them: no keyUsage."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sense-CA")])
    now = dt.datetime.now(dt.UTC)
    plain_ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    root, own = folder / "root.pem", folder / "own.pem"
    root.write_bytes(plain_ca.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own.write_bytes(root.read_bytes() + secret)
    return Files(trustme.CA.from_pem(root.read_bytes(), secret), root, own, own)


def test_a_ca_that_only_strict_verification_refuses_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = ssl.create_default_context

    def as_in_python_3_13(**options: str | None) -> ssl.SSLContext:
        context = default(**options)  # type: ignore[arg-type] # passed on as they came
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_in_python_3_13)
    files = site_without_key_usage(tmp_path)
    with serving(lambda _: STARTED, files) as server:
        connection = RepositoryClient(settings_for(server, files), threading.Event()).connection()
        assert connection.start(TASK) == RUN
        connection.close()
