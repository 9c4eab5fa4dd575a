"""When certificates expire; the only home of cryptography in the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from butler_mqtt.settings import Settings


def files_of(settings: Settings) -> dict[str, Path | None]:
    """Return the certificates that are used, by the keys that name them; None where one is not."""
    qrs, mqtt, rest = settings.qrs, settings.mqtt.tls, settings.rest.tls
    return {
        "cert.clientCert": qrs.client_cert if qrs.use_ssl else None,
        "cert.clientCertCA": qrs.client_cert_ca if qrs.use_ssl else None,
        "mqttConfig.tls.certFile": mqtt.cert_file if mqtt.enable else None,
        "mqttConfig.tls.caFile": mqtt.ca_file if mqtt.enable else None,
        "restServerConfig.tls.cert": rest.cert if rest.enable else None,
        "restServerConfig.tls.ca": rest.ca if rest.enable else None,
    }


def remaining(files: Mapping[str, Path | None]) -> dict[str, float]:
    """
    Return the seconds until the certificates in *files* expire, of several in one file the earliest.

    Negative for one that has expired; files that cannot be read are left out:
    the part of the daemon that needs them logs it.
    """
    now = datetime.now(UTC)
    found: dict[str, float] = {}
    for name, file in files.items():
        if file is None:
            continue
        try:
            certificates = x509.load_pem_x509_certificates(file.read_bytes())
            # An invalid time in the certificate raises only here.
            found[name] = min((one.not_valid_after_utc - now).total_seconds() for one in certificates)
        except (OSError, ValueError):
            continue
    return found
