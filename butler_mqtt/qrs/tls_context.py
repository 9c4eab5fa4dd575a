"""How the QRS is spoken to over TLS: our certificate, their CA."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

from butler_mqtt import pem_files
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.qrs.json_fields import text
from butler_mqtt.settings import QrsSettings as Settings

#: What OpenSSL says of our certificate and key, by its reason, and what is to be done.
_OURS: Mapping[str, str] = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate: take both files from the same export",
    "EE_KEY_TOO_SMALL": "the certificate's key is too short for this machine (RSA needs 2048 bits): export"
    " a new one in the QMC",
    "CA_MD_TOO_WEAK": "the certificate is signed with SHA-1 or MD5, which this machine does not take: export"
    " a new one in the QMC",
    "BAD_PASSWORD_READ": "the key is encrypted: export it without a password",
    "BAD_DECRYPT": "the key is encrypted: export it without a password",
}
_CHECK = "check the file, its permissions and that it is PEM without a password"


class NothingInCommon(ssl.SSLError):
    """The server refused to go on before it chose a cipher suite."""

    def __init__(self, alert: ssl.SSLError) -> None:
        super().__init__(*alert.args)
        self.reason = alert.reason


class HandshakeSocket(ssl.SSLSocket):
    """A socket that tells a server that finds no cipher suite from one that refuses our certificate."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands as the base class does; raises NothingInCommon, and SSLEOFError for a reset."""
        try:
            super().do_handshake(block)
        except ssl.SSLError as error:
            # One alert has both meanings; a suite is known once the server has said hello.
            if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and self.cipher() is None:
                raise NothingInCommon(error) from None
            raise
        except ConnectionResetError:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection was reset") from None


def tls_context(settings: Settings) -> ssl.SSLContext:
    """
    Make the TLS context: TLS 1.2 or later, our certificate, their CA.

    Raises:
        QlikUnavailable: A certificate file cannot be used.
    """
    ca = settings.client_cert_ca
    step, files = f"cert.clientCertCA ({ca})", [(ca, False)]
    try:
        context, old_roots = _trusting(ca)
        context.sslsocket_class = HandshakeSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Windows Server 2022 (HTTP.sys) may ask for our certificate only after the handshake of TLS 1.3, and
        # resets the connection of a client that did not offer this (Microsoft IIS Support Blog, 4449362).
        context.post_handshake_auth = True
        # On by default since Python 3.13; refuses the CA of a Qlik site that has no keyUsage.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not settings.reject_unauthorized:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.client_cert is not None:
            step = f"cert.clientCert ({settings.client_cert}) with clientCertKey ({settings.client_cert_key})"
            files = [(settings.client_cert, False), (settings.client_cert_key, True)]
            _show(context, settings.client_cert, settings.client_cert_key, old_roots)
    except (OSError, ValueError) as error:
        raise QlikUnavailable(f"{step} cannot be used: {_cause(error, files)}") from error
    return context


def _trusting(ca: Path | None) -> tuple[ssl.SSLContext, bytes]:
    """Make a context that trusts the CAs of a file; return the file if it holds an old root, else nothing."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    stored = context.cert_store_stats()
    if ca is None or stored["x509"] == stored["x509_ca"]:
        return context, b""
    from butler_mqtt.qrs import old_root  # noqa: PLC0415 -- parsing certificates is for those few sites only

    pem = ca.read_bytes()
    context = ssl.create_default_context(cadata=old_root.trusted(pem))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context, pem


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None, issuers: bytes) -> None:
    """Use our certificate; *issuers* are sent with it, else OpenSSL sends those that the context trusts."""
    if not issuers:
        # An empty password instead of none: OpenSSL would ask for one on the terminal and wait.
        context.load_cert_chain(certificate, key, password="")
        return
    # The stand-ins of old roots are nobody's business but ours.
    chain = certificate.read_bytes() + b"\n" + issuers
    descriptor = os.memfd_create("chain")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", key or certificate, password="")
    finally:
        os.close(descriptor)


def _cause(error: OSError | ValueError, files: Sequence[tuple[Path | None, bool]]) -> str:
    """Return why files cannot be used and what to do; each comes with whether it must hold a key."""
    for file, key in files:
        try:
            found = pem_files.fault(file.read_bytes(), key=key) if file is not None else None
        except OSError:
            continue  # as *error* says
        if found:
            return f"{file} {found}"
    advice = _OURS.get(getattr(error, "reason", None) or "", _CHECK)
    return f"{text(str(error))}; {advice}"
