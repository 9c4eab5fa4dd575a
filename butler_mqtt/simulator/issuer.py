"""Throw-away certificates under the names that an export from the Qlik console has."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

#: The names in the server's certificate; the last stands for the short host name of a Qlik server.
SERVER_NAMES = ("localhost", "127.0.0.1", "::1", "sense1")
_FILES = ("root.pem", "client.pem", "client_key.pem", "server.pem", "server_key.pem")


class CertificateError(Exception):
    """Certificates cannot be created or read; the text says which and why."""


def make(folder: Path) -> None:
    """
    Write a CA, a client and a server certificate with their keys into *folder*.

    `root.pem`, `client.pem`, `client_key.pem` are for the client;
    `server.pem`, `server_key.pem` for the simulator. Keys have mode 0600.

    Raises:
        CertificateError: The folder cannot be written.
    """
    authority = trustme.CA(organization_name="QRS simulator", organization_unit_name="throw-away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority.cert_pem.write_to_path(folder / "root.pem")
        for name, certificate in (
            ("client", authority.issue_cert("qlikclient", common_name="QlikClient")),
            ("server", authority.issue_cert(*SERVER_NAMES, common_name="sense1")),
        ):
            key = folder / f"{name}_key.pem"
            key.touch(mode=0o600)
            key.chmod(0o600)
            certificate.private_key_pem.write_to_path(key)
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    except OSError as error:
        raise CertificateError(f"{folder}: certificates cannot be written: {error}") from error


def ensure(folder: Path) -> None:
    """
    Make certificates in *folder* unless there are some.

    Raises:
        CertificateError: There are some but not those that the server needs, or it cannot be written.
    """
    present = [name for name in _FILES if (folder / name).exists()]
    if not present:
        make(folder)
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
        context.load_verify_locations(folder / "root.pem")
    except OSError as error:
        raise CertificateError(f"{folder}: certificates cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context
