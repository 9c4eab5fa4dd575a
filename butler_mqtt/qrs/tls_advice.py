"""What a failed TLS handshake with the Qlik server means, and what to do about it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from butler_mqtt.qrs.tls_context import NothingInCommon
from butler_mqtt.settings import QrsSettings as Settings

_NEW: Final = "have the site make new certificates"
_ROOT: Final = "cert.clientCertCA ({ca}) must be the root.pem of this Qlik site"
_SHORT: Final = f"its key is too short for this machine (RSA needs 2048 bits): {_NEW}"
#: By OpenSSL's X509_V_ERR_* (https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/).
_CODES: Final[Mapping[int, str]] = {
    **dict.fromkeys((2, 7, 18, 19, 20, 21), _ROOT),
    **dict.fromkeys((9, 10), f"check the clock of this machine; else {_NEW}"),
    # 24 in OpenSSL 1.1; 80 to 94: what RFC 5280 wants of a CA.
    **dict.fromkeys((24, *range(79, 95)), f"{_ROOT}; it holds a certificate that may issue none"),
    26: "the server's certificate is not made for servers (extendedKeyUsage lacks serverAuth):"
    f" configQRS.port must be {{port}}, else {_NEW}",
    62: "put the name in the server's certificate into configQRS.serverName",
    64: "put the name in the server's certificate into configQRS.serverName",
    66: _SHORT,
    67: _SHORT,
    68: f"it is signed with SHA-1 or MD5, which this machine does not take: {_NEW}",
}
_VERSION: Final = "the server speaks no TLS 1.2: enable it there (Windows: Schannel)"
_NO_TLS: Final = "{place} does not speak TLS: configQRS.port must be {port}"
#: By the reasons of OpenSSL, of our side or in an alert of the server.
_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION"), _VERSION),
    **dict.fromkeys(
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"), _NO_TLS
    ),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the server refused our certificate, which is not made for"
    " clients: cert.clientCert ({certificate}) must be client.pem of an export, not server.pem",
}
_NO_SUITE: Final = (
    "the server has no cipher suite in common with this machine: enable those of TLS 1.2 with ECDHE and"
    " AES-GCM there (Windows: Schannel)"
)
_REFUSED: Final = (
    "the server refused our certificate: cert.clientCert ({certificate}) must be exported from this site's"
    " QMC and not expired"
)
_CLOSED: Final = (
    "the server closed the connection: it is being restarted, refuses our certificate ({certificate}), or has"
    " no TLS 1.2"
)


def advice(error: ssl.SSLError, settings: Settings) -> str:
    """Advise what to change; empty when nothing is known."""
    return _form(error).format(
        ca=settings.client_cert_ca,
        certificate=settings.client_cert,
        place=f"port {settings.port} of {settings.host}",
        port="the proxy's (443)" if settings.through_proxy else "the repository's own (4242)",
    )


def _form(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CODES.get(error.verify_code, "")
    if isinstance(error, NothingInCommon):
        return _NO_SUITE
    if isinstance(error, ssl.SSLEOFError):
        return _CLOSED
    reason = getattr(error, "reason", None) or ""  # only what OpenSSL reports has one
    return _REASONS.get(reason, _REFUSED if "ALERT" in reason else "")
