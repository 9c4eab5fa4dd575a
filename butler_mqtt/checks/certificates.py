"""Looks at the certificates of the way to the Qlik server: our files, and what the server shows."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.qrs.faults import explain
from butler_mqtt.qrs.transport import tls_context
from butler_mqtt.settings import Qrs

#: Days before the end of a certificate from which on it is worth a line.
SOON_DAYS = 30
#: Seconds in which a server that refuses our certificate hangs up.
HANG_UP_SECONDS = 1.0
_EXPORT = "export new certificates in the Qlik Management Console"


def files(qrs: Qrs) -> Iterator[Finding]:
    """See whether our files can be read, are valid now, and belong together."""
    if qrs.client_cert is not None:
        yield _file("qlik.clientCert", qrs.client_cert)
    if qrs.client_cert_ca is not None:
        yield _file("qlik.clientCertCA", qrs.client_cert_ca)
    if qrs.client_cert is not None and qrs.client_cert_key is not None:
        yield _pair(qrs.client_cert, qrs.client_cert_key)
    if qrs.client_cert is not None and qrs.client_cert_ca is not None:
        yield from _issuer(qrs.client_cert, qrs.client_cert_ca)


def server(qrs: Qrs) -> Iterator[Finding]:
    """
    See which names the server's certificate has and how long it is valid.

    Nothing is said when the server does not answer: the first call tells that.
    """
    try:
        certificate = _shown(qrs)
    except ssl.SSLCertVerificationError as error:
        yield wrong(
            "qlik.serverCertificate",
            explain(error, qrs),
            f"{_named_by_server(qrs)}; set configQRS.serverName or cert.clientCertCA to fit it",
        )
        return
    except (OSError, QlikUnavailable, ValueError):
        return
    names = ", ".join(names_of(certificate))
    if not qrs.reject_unauthorized:
        yield warning(
            "qlik.serverCertificate",
            f"it is for {names}, and is not checked (rejectUnauthorized: false)",
            "anyone on the way can read and start tasks: set rejectUnauthorized: true",
        )
    yield _validity("qlik.serverCertificate", f"the server's certificate for {names}", certificate)


def refusal(qrs: Qrs) -> str:
    """
    See whether the server hangs up at our certificate, which TLS 1.3 shows only after the handshake.

    Returns:
        What it said; empty when it keeps the connection open, or is not there.
    """
    try:
        with _connection(qrs) as connection:
            connection.settimeout(HANG_UP_SECONDS)
            if not connection.recv(1):
                return "the server closes the connection as soon as it has seen our certificate"
    except ssl.SSLError as error:
        return explain(error, qrs)
    except (OSError, QlikUnavailable, ValueError):
        pass
    return ""


def names_of(certificate: x509.Certificate) -> list[str]:
    """Give the names and addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(one.value) for one in common]
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def _connection(qrs: Qrs) -> ssl.SSLSocket:
    """Connect and shake hands."""
    context = tls_context(qrs)
    plain = socket.create_connection((qrs.host, qrs.port), qrs.connect_timeout_seconds)
    try:
        return context.wrap_socket(plain, server_hostname=qrs.server_name or qrs.host)
    except BaseException:
        plain.close()
        raise


def _shown(qrs: Qrs) -> x509.Certificate:
    """Shake hands and give what the server showed."""
    with _connection(qrs) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def _named_by_server(qrs: Qrs) -> str:
    """Look at the certificate that was not accepted; nothing is sent over that connection."""
    try:
        certificate = _shown(replace(qrs, reject_unauthorized=False))
    except (OSError, QlikUnavailable, ValueError):
        return "the server's certificate cannot be looked at"
    return (
        f"the server's certificate is for {', '.join(names_of(certificate))}, issued by "
        f"{certificate.issuer.rfc4514_string()}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
    )


def _file(name: str, path: Path) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return wrong(name, f"{path} cannot be read: {error}", f"{_EXPORT} as PEM")
    return _validity(name, str(path), certificate)


def _validity(name: str, what: str, certificate: x509.Certificate) -> Finding:
    now = datetime.now(UTC)
    days = (certificate.not_valid_after_utc - now).days
    if certificate.not_valid_before_utc > now:
        return wrong(name, f"{what} is not valid yet", "look at this machine's clock")
    if days < 0:
        return wrong(name, f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d}", _EXPORT)
    if days < SOON_DAYS:
        return warning(name, f"{what} expires in {days} days", f"{_EXPORT} in time")
    return ok(name, f"{what} is valid for {days} more days")


def _pair(certificate_path: Path, key_path: Path) -> Finding:
    """See whether the key belongs to the certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        return wrong(
            "qlik.clientCertKey",
            f"{key_path} cannot be read: {error}",
            "export the certificates as PEM with the secret key and without a password",
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return wrong(
            "qlik.clientCertKey",
            f"{key_path} is not the key of {certificate_path}",
            "take both files from the same export",
        )
    return ok("qlik.clientCertKey", f"{key_path} belongs to {certificate_path}")


def _issuer(certificate_path: Path, ca_path: Path) -> Iterator[Finding]:
    """See whether the CA issued our certificate, as in an export of one site."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        authorities = x509.load_pem_x509_certificates(ca_path.read_bytes())
    except (OSError, ValueError):
        return  # Said above.
    if any(_issued(certificate, authority) for authority in authorities):
        yield ok("qlik.issuer", f"{certificate_path} was issued by {ca_path}")
    else:
        yield warning(
            "qlik.issuer",
            f"{certificate_path} was not issued by {ca_path}",
            "take both from the same export, unless this site has a chain of its own",
        )


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
