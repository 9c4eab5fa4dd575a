"""Until when certificates are valid, whatever their files hold."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from butler_mqtt.http.certificate_expiry import remaining


def _pem(der: bytes) -> bytes:
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


def test_a_certificate_whose_end_is_no_time_is_left_out(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2060, 1, 2, 3, 4, 5, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    for stamp in (b"00000102030405Z", b"99991231235959Z", b"20601402030405Z", b"20600230030405Z"):
        changed = der.replace(b"20600102030405Z", stamp)
        assert changed != der
        file = tmp_path / "certificate.pem"
        file.write_bytes(_pem(changed))
        found = remaining({"x": file})
        assert found == {} or found["x"] > 0
