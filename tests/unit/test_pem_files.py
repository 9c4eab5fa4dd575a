"""What is in a PEM file, in words."""

from __future__ import annotations

import pytest

from butler_mqtt.pem_files import fault


def block(label: str, inside: str = "AA==") -> bytes:
    return f"-----BEGIN {label}-----\n{inside}\n-----END {label}-----\n".encode()


CERTIFICATE, KEY = block("CERTIFICATE"), block("RSA PRIVATE KEY")
OLD_ENCRYPTED = block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAA==")


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (CERTIFICATE, False, None),
        (block("TRUSTED CERTIFICATE"), False, None),
        (KEY, True, None),
        (block("PRIVATE KEY"), True, None),
        (CERTIFICATE + KEY, False, None),
        (CERTIFICATE + KEY, True, None),
        (b"", False, "is not PEM"),
        (b"\x30\x82\x01\x00", False, "is not PEM"),
        ("-----BEGIN CERTIFICATE-----".encode("utf-16"), False, "is not PEM"),
        (KEY, False, "holds a rsa private key and no certificate; are certificate and key swapped?"),
        (CERTIFICATE, True, "holds a certificate and no private key; are certificate and key swapped?"),
        (block("X509 CRL"), False, "holds a x509 crl and no certificate"),
        (block("ENCRYPTED PRIVATE KEY"), True, "is encrypted"),
        (OLD_ENCRYPTED, True, "is encrypted"),
        (OLD_ENCRYPTED + CERTIFICATE, False, None),
        (b"Proc-Type: 4,ENCRYPTED\n" + KEY, True, None),
    ],
)
def test_a_fault_continues_a_sentence_about_the_file(content: bytes, key: bool, reason: str | None) -> None:
    found = fault(content, key=key)
    assert found is None if reason is None else str(found).startswith(reason)
