"""Checks the certificates of the connection to the Qlik server: the daemon's files, the server's."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from butler_mqtt.checks import certificate_files
from butler_mqtt.checks.finding import Finding, State, ok, warning, wrong
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.qrs import tls_advice
from butler_mqtt.qrs.old_root import is_old_root
from butler_mqtt.qrs.tls_context import tls_context
from butler_mqtt.settings import QrsSettings

#: Seconds in which a server that refuses our certificate closes the connection.
HANG_UP_SECONDS = 1.0
_EXPORT = "export new certificates in the Qlik Management Console"
_RENEW_SERVER = "have the site make new certificates (Qlik Management Console, or the services' own tools)"


def files(qrs: QrsSettings) -> Iterator[Finding]:
    """
    Check whether our files can be read, are valid now, belong together, and are taken by TLS.

    Whatever TLS does not take is wrong in one of the lines, so that no connection need be tried.
    """
    found = [*_files(qrs)]
    yield from found
    fault = fault_of_files(qrs)
    if fault is not None and not any(one.state is State.WRONG for one in found):
        yield wrong("qlik.clientCert", fault, _EXPORT)


def fault_of_files(qrs: QrsSettings) -> str | None:
    """Return why TLS does not take our files; None when it does."""
    try:
        tls_context(qrs)
    except QlikUnavailable as error:
        return str(error)
    return None


def _files(qrs: QrsSettings) -> Iterator[Finding]:
    if qrs.client_cert is not None:
        yield certificate_files.of_file("qlik.clientCert", qrs.client_cert, _EXPORT, f"{_EXPORT} as PEM")
    if qrs.client_cert_ca is not None:
        yield certificate_files.of_file("qlik.clientCertCA", qrs.client_cert_ca, _EXPORT, f"{_EXPORT} as PEM")
        yield from _old_root(qrs.client_cert_ca)
    if qrs.client_cert is not None and qrs.client_cert_key is not None:
        yield certificate_files.pair(
            "qlik.clientCertKey",
            qrs.client_cert,
            qrs.client_cert_key,
            unreadable="export the certificates as PEM with the secret key and without a password",
            mixed="take both files from the same export",
        )
    if qrs.client_cert is not None and qrs.client_cert_ca is not None:
        yield from _issuer(qrs.client_cert, qrs.client_cert_ca)


def _old_root(path: Path) -> Iterator[Finding]:
    with suppress(OSError, ValueError):  # Reported above.
        if any(is_old_root(one) for one in x509.load_pem_x509_certificates(path.read_bytes())):
            yield warning(
                "qlik.oldRoot",
                f"{path} holds a root as sites of about 2015 to 2019 have it, which OpenSSL takes for no CA;"
                " the server's certificate is checked by it all the same: issuer, dates, purpose and name",
                "nothing has to be done here; other programs on OpenSSL refuse this site until its "
                "certificates are recreated",
            )


def server(qrs: QrsSettings) -> Iterator[Finding]:
    """
    Check the names of the server's certificate and how long it is valid.

    Without an answer it yields nothing: the first call reports that.
    """
    try:
        with _connection(qrs) as connected:
            certificate, version = certificate_files.shown(connected), connected.version()
    except ssl.SSLCertVerificationError as error:
        yield _refused(qrs, error)
        return
    except ssl.SSLEOFError:
        return  # Perhaps it is being restarted.
    except ssl.SSLError as error:
        yield _failed(qrs, error)
        return
    except (OSError, QlikUnavailable, ValueError):
        return
    names = ", ".join(certificate_files.names_of(certificate))
    if not qrs.reject_unauthorized:
        yield warning(
            "qlik.serverCertificate",
            f"it is for {names}, and is not checked (rejectUnauthorized: false)",
            "anyone between can read traffic and start tasks: set rejectUnauthorized: true",
        )
    what = f"the server's certificate for {names} ({version})"
    yield certificate_files.judged("qlik.serverCertificate", what, certificate, _RENEW_SERVER)


def _refused(qrs: QrsSettings, error: ssl.SSLCertVerificationError) -> Finding:
    """Return why the server's certificate is not accepted; it is read, and nothing is sent."""
    name = "qlik.serverCertificate"
    text = f"the server's certificate is not accepted: {error.verify_message}"
    try:
        with _connection(replace(qrs, reject_unauthorized=False)) as connected:
            certificate = certificate_files.shown(connected)
    except (OSError, QlikUnavailable, ValueError):
        return wrong(name, f"{text}; it cannot be read", _advice(qrs, error))
    text = f"{text}; it is {certificate_files.described(certificate)}"
    meant = f"if {qrs.host} is the right server"
    if error.verify_code in certificate_files.OUT_OF_TIME:
        judged = certificate_files.judged(name, "", certificate, _RENEW_SERVER)
        return wrong(
            name, text, judged.advice or "the CA in cert.clientCertCA has expired or is not valid yet"
        )
    if error.verify_code in certificate_files.OTHER_NAME:
        names = " or ".join(certificate_files.names_of(certificate))
        return wrong(name, text, f"set configQRS.serverName to {names}, {meant}")
    if error.verify_code in certificate_files.OTHER_ISSUER:
        root = f"take root.pem of this site for cert.clientCertCA ({qrs.client_cert_ca})"
        return wrong(name, text, f"{root}, {meant}")
    return wrong(name, text, _advice(qrs, error))


def _failed(qrs: QrsSettings, error: ssl.SSLError) -> Finding:
    """Return why there is no TLS with this server, whatever its certificate."""
    reason = (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
    return wrong("qlik.connection", f"{qrs.host}:{qrs.port}: TLS failed: {reason}", _advice(qrs, error))


def _advice(qrs: QrsSettings, error: ssl.SSLError) -> str:
    return tls_advice.advice(error, qrs) or "see the System event log of the server (source Schannel)"


def refusal(qrs: QrsSettings) -> Finding | None:
    """
    Check whether the server refuses our certificate, which TLS 1.3 shows only after the handshake.

    Returns:
        The refusal; None when it keeps the connection open, or cannot be reached.
    """
    try:
        with _connection(qrs) as connection:
            connection.settimeout(HANG_UP_SECONDS)
            if not connection.recv(1):
                return wrong(
                    "qlik.connection",
                    f"{qrs.host}:{qrs.port}: the server closes the connection after it has received our"
                    " certificate",
                    "use client.pem and its key from an export of this site, not expired",
                )
    except ssl.SSLEOFError:
        pass
    except ssl.SSLError as error:
        return _failed(qrs, error)
    except (OSError, QlikUnavailable, ValueError):
        pass
    return None


def _connection(qrs: QrsSettings) -> ssl.SSLSocket:
    """Connect with a TLS handshake as the daemon does."""
    return certificate_files.connection(
        tls_context(qrs),
        qrs.host,
        qrs.port,
        server_name=qrs.server_name or qrs.host,
        timeout=qrs.connect_timeout_seconds,
    )


def _issuer(certificate_path: Path, ca_path: Path) -> Iterator[Finding]:
    """Check whether the CA issued our certificate, as in an export of one site."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        authorities = x509.load_pem_x509_certificates(ca_path.read_bytes())
    except (OSError, ValueError):
        return  # Reported above.
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
