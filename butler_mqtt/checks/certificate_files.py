"""Checks certificates and keys: names, days left, whether they belong together; reads a server's."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from butler_mqtt import pem_files
from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.domain import days_left
from butler_mqtt.printable import counted

#: OpenSSL's X509_V_ERR_* (https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/).
OUT_OF_TIME = frozenset({9, 10})
OTHER_NAME = frozenset({62, 64})
OTHER_ISSUER = frozenset({2, 7, 18, 19, 20, 21})


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(one.value) for one in common]
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def described(certificate: x509.Certificate) -> str:
    """Return the names of a certificate, its issuer and the end of its validity as text."""
    return (
        f"for {', '.join(names_of(certificate))}, issued by {certificate.issuer.rfc4514_string()}, "
        f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
    )


def judged(name: str, what: str, certificate: x509.Certificate, renew: str) -> Finding:
    """
    Check whether *certificate* is valid now and for how long.

    Args:
        name: The name of the line.
        what: The certificate in words, with which the line begins.
        certificate: The certificate.
        renew: How an operator gets a new one.
    """
    now = datetime.now(UTC)
    days = (certificate.not_valid_after_utc - now).days
    if certificate.not_valid_before_utc > now:
        begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return wrong(name, f"{what} is not valid before {begins}", "check this machine's clock")
    if days < 0:
        return wrong(name, f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d}", renew)
    if days < days_left.CERTIFICATE:
        return warning(name, f"{what} expires {days_left.within(days)}", f"{renew} in time")
    return ok(name, f"{what} is valid for {counted(days, 'more day')}")


def of_file(name: str, path: Path, renew: str, unreadable: str) -> Finding:
    """Check the first certificate of a PEM file; *unreadable* is the advice when it holds none."""
    try:
        content = path.read_bytes()
        if fault := pem_files.fault(content):
            return wrong(name, f"{path} {fault}", unreadable)
        certificate = x509.load_pem_x509_certificate(content)
    except (OSError, ValueError) as error:
        return wrong(name, f"{path} cannot be read: {error}", unreadable)
    return judged(name, str(path), certificate, renew)


def pair(name: str, certificate_path: Path, key_path: Path, *, unreadable: str, mixed: str) -> Finding:
    """Check whether the key can be read and belongs to the certificate; the others are advice."""
    try:
        content = key_path.read_bytes()
        if fault := pem_files.fault(content, key=True):
            return wrong(name, f"{key_path} {fault}", unreadable)
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(content, password=None)
    except (OSError, ValueError, TypeError) as error:
        return wrong(name, f"{key_path} cannot be read: {error}", unreadable)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return wrong(name, f"{key_path} is not the key of {certificate_path}", mixed)
    return ok(name, f"{key_path} belongs to {certificate_path}")


def connection(
    context: ssl.SSLContext, host: str, port: int, *, server_name: str, timeout: float
) -> ssl.SSLSocket:
    """
    Connect with a TLS handshake; *timeout* is in seconds for each step.

    Raises:
        ssl.SSLError: The handshake failed.
        OSError: No connection can be made.
        ValueError: A name cannot be one.
    """
    plain = socket.create_connection((host, port), timeout)
    try:
        return context.wrap_socket(plain, server_hostname=server_name)
    except BaseException:
        plain.close()
        raise


def shown(connected: ssl.SSLSocket) -> x509.Certificate:
    """Return the server's certificate; raises ValueError when it sent none."""
    return x509.load_der_x509_certificate(connected.getpeercert(binary_form=True) or b"")
