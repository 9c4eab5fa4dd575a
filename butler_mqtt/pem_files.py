"""PEM files of certificates and keys: what is in them, in words, without reading any key."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: RFC 7468, section 3; what stands outside of the blocks is comment.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
#: How OpenSSL marks an encrypted key of the older kind (RFC 1421, 4.6.1.1).
_ENCRYPTED = re.compile(rb"\s+Proc-Type:\s*4,\s*ENCRYPTED")


def fault(content: bytes, *, key: bool = False) -> str | None:
    """
    Return what is wrong with a file that must hold a certificate, or a private *key*.

    None if nothing seems to be wrong.

    The text continues a sentence that begins with the name of the file.
    """
    labels = list(_labels(content))
    if not labels:
        return "is not PEM (it has no line beginning with -----BEGIN)"
    keys = [label for label in labels if label.endswith("PRIVATE KEY")]
    certificates = [label for label in labels if label.endswith("CERTIFICATE")]
    if key and any(label.startswith("ENCRYPTED") for label in keys):
        # The TLS library would prompt for the pass phrase on a terminal, which a daemon does not have.
        return (
            "is encrypted; write it without a pass phrase, e.g. with `openssl pkey -in old.pem -out new.pem`"
        )
    if key and not keys:
        return f"holds {_named(labels)} and no private key{_SWAPPED if certificates else ''}"
    if not key and not certificates:
        return f"holds {_named(labels)} and no certificate{_SWAPPED if keys else ''}"
    return None


_SWAPPED = "; are certificate and key swapped?"


def _labels(content: bytes) -> Iterator[str]:
    for block in _BLOCK.finditer(content):
        label = block[1].decode("ascii")
        # Only a key says so inside of its block; the comment of a certificate may hold any word.
        encrypted = label.endswith("PRIVATE KEY") and _ENCRYPTED.match(content, block.end())
        yield f"ENCRYPTED {label}" if encrypted else label


def _named(labels: list[str]) -> str:
    first = labels[0].lower()
    return f"an {first}" if first[0] in "aeiou" else f"a {first}"
