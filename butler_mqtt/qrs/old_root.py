"""
Site CAs as Qlik Sense made them about 2015 to 2019: without basicConstraints and keyUsage.

Three public ones look so (stefanwalther/qrs#21, QlikSenseGovernance#14). OpenSSL takes no such
certificate for a CA, whatever its flags. In its place it gets a certificate of the same name, key
and dates that says that it is a CA, and checks with it all it checks elsewhere: signature, dates,
purpose, strength, host name. An anchor's own signature is not looked at, so none of the site's is needed.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

#: What another certificate may name its issuer by.
_IDENTIFIERS = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
#: What says whose certificate it is: a CA that lacks basicConstraints has none of them.
_OF_OTHERS = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
#: RFC 5280, 4.1.2.2: 20 octets, the highest bit zero.
_LARGEST_SERIAL = 1 << 159


def is_old_root(certificate: x509.Certificate) -> bool:
    """Return whether it is self-signed, of version 3, and says nothing of what it may be used for."""
    if certificate.version is not x509.Version.v3:
        return False
    try:
        if any(isinstance(extension.value, _OF_OTHERS) for extension in certificate.extensions):
            return False
        certificate.verify_directly_issued_by(certificate)
    except (
        InvalidSignature,
        ValueError,
        TypeError,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return False
    return True


def trusted(pem: bytes) -> bytes:
    """
    Return the certificates of a CA file for `SSLContext`, with one that OpenSSL takes for each old root.

    They are anchors only with VERIFY_X509_PARTIAL_CHAIN, since their signatures are not their own.

    Returns:
        DER, one after the other.

    Raises:
        ValueError: A certificate cannot be read.
    """
    found = x509.load_pem_x509_certificates(pem)
    return b"".join((_anchor(one) if is_old_root(one) else one).public_bytes(Encoding.DER) for one in found)


def _anchor(root: x509.Certificate) -> x509.Certificate:
    serial = root.serial_number
    builder = x509.CertificateBuilder(
        issuer_name=root.issuer,
        subject_name=root.subject,
        public_key=root.public_key(),
        serial_number=serial if 0 < serial < _LARGEST_SERIAL else x509.random_serial_number(),
        not_valid_before=root.not_valid_before_utc,
        not_valid_after=root.not_valid_after_utc,
    ).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    for extension in root.extensions:
        if isinstance(extension.value, _IDENTIFIERS):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
