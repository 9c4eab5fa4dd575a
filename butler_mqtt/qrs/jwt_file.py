"""
The file with the token (JWT) that a Qlik proxy lets us in with, and what the token says of itself.

Its signature is not verified here: that is the proxy's business, which has
the certificate for it, so reading the claims is decoding base64 and JSON.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: Far more than a proxy takes as one header.
_MAX_BYTES = 65_536
#: RFC 7519: three parts in base64url; the last is empty for a token that is not signed.
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def read(path: Path) -> str:
    """
    Read the token, less white space around it.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no token; the text never quotes what it holds.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    # What a byte of another encoding becomes is no part of a token.
    token = content.decode("utf-8-sig", "replace").strip()
    if not token:
        raise ValueError("is empty")
    if len(content) > _MAX_BYTES or _TOKEN.fullmatch(token) is None:
        raise ValueError(
            "holds no token: one word of three parts with dots between, without `Bearer` and quotes"
        )
    return token


@dataclass(frozen=True, slots=True)
class Claims:
    """
    What a token says of itself, without proof.

    `names` are those of all its claims; a moment that is absent, or no number of seconds, is None.
    """

    names: tuple[str, ...]
    expires: datetime | None = None
    not_before: datetime | None = None


def claims(token: str) -> Claims:
    """
    Return the claims of a token.

    Raises:
        ValueError: Its second part is no JSON object in base64url.
    """
    part = token.split(".")[1]
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except RecursionError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("its second part is no JSON object")
    return Claims(tuple(str(name) for name in value), _moment(value.get("exp")), _moment(value.get("nbf")))


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
