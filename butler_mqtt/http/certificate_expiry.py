"""When certificates expire; the only home of cryptography in the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509


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
