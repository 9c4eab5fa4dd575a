"""A request that is not UTF-8 is refused with what it is and what to do."""

from __future__ import annotations

import gzip
import zlib

import pytest

from butler_mqtt.contract.strict_json import JsonError, decode

REQUEST = '{"tag":["one"]}'
UTF_16 = (
    "line 1, column 1: the request is UTF-16, as PowerShell writes by default; "
    "send UTF-8, in PowerShell with | Out-File -Encoding utf8 instead of >"
)
LATIN_1 = "it looks like Latin-1 or another charset of one byte, where it is"


def refused(payload: bytes) -> str:
    with pytest.raises(JsonError) as caught:
        decode(payload)
    return str(caught.value)


@pytest.mark.parametrize("text", [REQUEST, "{}", "[]\r\n", '{"tag":"größe"}', "a8b4c123"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16le", "utf-16be"])
def test_utf_16_is_named_with_or_without_a_byte_order_mark(text: str, encoding: str) -> None:
    assert refused(text.encode(encoding)) == UTF_16
    assert refused(text.encode(encoding) + b"\0\0") == UTF_16


def test_utf_16_with_the_other_byte_order_mark_is_named() -> None:
    assert refused(b"\xfe\xff" + REQUEST.encode("utf-16be")) == UTF_16


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32le", "utf-32be"])
def test_utf_32_is_named(encoding: str) -> None:
    assert refused(REQUEST.encode(encoding)) == "line 1, column 1: the request is UTF-32; send UTF-8"


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (gzip.compress(REQUEST.encode()), "gzip"),
        (zlib.compress(REQUEST.encode()), "zlib"),
        (zlib.compress(REQUEST.encode(), 9), "zlib"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    ],
    ids=["gzip", "zlib", "zlib-best", "zstd"],
)
def test_compressed_bytes_are_named(payload: bytes, name: str) -> None:
    assert refused(payload).endswith(f": the request is compressed ({name}); send the JSON itself")


@pytest.mark.parametrize(("sign", "column"), [("ä", 9), ("ß", 9), ("é", 9)])
def test_latin_1_is_named_with_the_place_and_the_character(sign: str, column: int) -> None:
    payload = f'{{"tag":"{sign}x"}}'.encode("latin-1")
    place = f"line 1, column {column}: byte 0x{ord(sign):02x} is not UTF-8; "
    assert refused(payload) == f"{place}{LATIN_1} '{sign}': send UTF-8, or \\u escapes"


@pytest.mark.parametrize("payload", [b'"\xed\xa0\x80"', b'"\xc3', b'"\x81"', b'{"tag":"\xc3\xa4\xff"}'])
def test_what_no_charset_explains_is_only_named_by_its_byte(payload: bytes) -> None:
    assert refused(payload).endswith(" is not UTF-8")


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"\0\0\0\0", b"5\0", b"5\0\0\0\0", b'{"tag":"\0\0"}', b"\xf0\x9f\x98\x80"]
)
def test_nuls_alone_do_not_make_utf_16(payload: bytes) -> None:
    assert decode(payload) == payload.rstrip(b"\0").decode()
