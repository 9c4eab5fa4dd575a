"""Throw-away certificates under the names that an export from the Qlik console has."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

#: The names in the server's certificate; the last stands for the short host name of a Qlik server.
SERVER_NAMES = ("localhost", "127.0.0.1", "::1", "sense1")
_FILES = ("root.pem", "client.pem", "client_key.pem", "server.pem", "server_key.pem")


class CertificateError(Exception):
    """Certificates cannot be created or read; the text says which and why."""


#: In a folder with an old root: the same name and key in a form by which OpenSSL can check clients.
_CLIENTS_CA = "clients_ca.pem"


def make(folder: Path, *, old_root: bool = False) -> None:
    """
    Write a CA, a client and a server certificate with their keys into *folder*.

    `root.pem`, `client.pem`, `client_key.pem` are for the client;
    `server.pem`, `server_key.pem` for the simulator. Keys have mode 0600.
    With *old_root* the CA lacks basicConstraints and keyUsage, as Qlik Sense made it about 2015 to 2019.

    Raises:
        CertificateError: The folder cannot be written.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if old_root else None
    if key is None:
        authority = trustme.CA(organization_name="QRS simulator", organization_unit_name="throw-away")
    else:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        authority = trustme.CA.from_pem(_root(key, says_so=True), secret)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority.cert_pem.write_to_path(folder / "root.pem")
        if key is not None:
            authority.cert_pem.write_to_path(folder / _CLIENTS_CA)
            (folder / "root.pem").write_bytes(_root(key, says_so=False))
        for name, certificate in (
            ("client", authority.issue_cert("qlikclient", common_name="QlikClient")),
            ("server", authority.issue_cert(*SERVER_NAMES, common_name="sense1")),
        ):
            file = folder / f"{name}_key.pem"
            file.touch(mode=0o600)
            file.chmod(0o600)
            certificate.private_key_pem.write_to_path(file)
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    except OSError as error:
        raise CertificateError(f"{folder}: certificates cannot be written: {error}") from error


def _root(key: rsa.RSAPrivateKey, *, says_so: bool) -> bytes:
    """Make the PEM of a CA that *says_so* or not."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sense1-CA")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=3650),
    )
    builder = builder.add_extension(identifier, critical=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    if says_so:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def ensure(folder: Path, *, old_root: bool = False) -> None:
    """
    Make certificates in *folder* unless there are some; *old_root* is for `make`.

    Raises:
        CertificateError: There are some but not those that the server needs, or it cannot be written.
    """
    present = [name for name in _FILES if (folder / name).exists()]
    if not present:
        make(folder, old_root=old_root)
        return
    missing = [name for name in ("root.pem", "server.pem", "server_key.pem") if name not in present]
    if missing:
        raise CertificateError(
            f"{folder} holds {', '.join(present)} but not {', '.join(missing)}: "
            "name an empty folder, or put the missing files there"
        )


def server_context(folder: Path) -> ssl.SSLContext:
    """
    Give a TLS context that demands a client certificate of the CA in *folder*.

    Raises:
        CertificateError: The files cannot be read or do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder / "server.pem", folder / "server_key.pem")
        clients = folder / _CLIENTS_CA
        context.load_verify_locations(clients if clients.exists() else folder / "root.pem")
    except OSError as error:
        raise CertificateError(f"{folder}: certificates cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context
