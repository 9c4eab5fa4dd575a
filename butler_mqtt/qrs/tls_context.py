"""How the QRS is spoken to over TLS: our certificate, their CA."""

from __future__ import annotations

import ssl

from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.qrs.json_fields import text
from butler_mqtt.settings import QrsSettings as Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """
    Make the TLS context: TLS 1.2 or later, our certificate, their CA.

    Raises:
        QlikUnavailable: A certificate file cannot be used.
    """
    step = f"cert.clientCertCA ({settings.client_cert_ca})"
    try:
        ca = settings.client_cert_ca
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
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
            # An empty password instead of none: OpenSSL would ask for one on the terminal and wait.
            context.load_cert_chain(settings.client_cert, settings.client_cert_key, password="")
    except (OSError, ValueError) as error:
        raise QlikUnavailable(
            f"{step} cannot be used: {text(str(error))}; check the file, its permissions and that it is PEM"
            " without a password"
        ) from error
    return context
