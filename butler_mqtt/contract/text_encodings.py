"""What bytes that are not UTF-8 are instead, in words for their sender. Pure."""

from __future__ import annotations

#: Compressed data by its first bytes: gzip (RFC 1952), zlib (RFC 1950), zstd (RFC 8878).
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_UTF_16 = (
    "the request is UTF-16, as PowerShell writes by default; "
    "send UTF-8, in PowerShell with | Out-File -Encoding utf8 instead of >"
)
_UTF_32 = "the request is UTF-32; send UTF-8"


def wide(payload: bytes) -> str | None:
    """Return the refusal of UTF-16 or UTF-32, with byte order mark or without; None if it is neither."""
    payload = payload.rstrip(b"\0")
    if payload.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"\0\0\0")) or payload[1:4] == b"\0\0\0":
        return _UTF_32
    if payload.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _UTF_16
    # JSON and GUIDs begin with ASCII characters: every second byte is 0.
    halves = payload[:4:2], payload[1:4:2]
    return _UTF_16 if any(half and not half.strip(b"\0") for half in halves) else None


def other_than_utf8(payload: bytes, error: UnicodeDecodeError) -> str:
    """Return the refusal of bytes that are not UTF-8, for *error* at the first bad one."""
    for magic, name in _COMPRESSED.items():
        if payload.startswith(magic):
            return f"the request is compressed ({name}); send the JSON itself"
    message = f"byte 0x{payload[error.start]:02x} is not UTF-8"
    if error.reason == "unexpected end of data":
        return message
    text = payload.decode("cp1252", errors="replace")
    if not all(sign.isascii() or sign.isalpha() or sign in "€§°" for sign in text):
        return message
    return (
        f"{message}; it looks like Latin-1 or another charset of one byte, where it is "
        f"'{text[error.start]}': send UTF-8, or \\u escapes"
    )
