"""An answer of the QRS as it comes off the connection: status, headers, and the whole body."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, LineTooLong, UnknownProtocol
from typing import Any, BinaryIO

import urllib3
from requests import exceptions as rx

#: More than any list of tasks; a body beyond it is not ours to hold in memory.
MAX_BODY = 64 * 1024 * 1024
_CHUNK = 1 << 16
#: As in the standard library: headers of one answer, and bytes of a line.
_MAX_HEADERS = 100
_MAX_LINE = 65536


class _Headers(dict[str, str]):
    """Headers by name in lower case; the values of one that comes several times stand in a row."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Raw(HTTPResponse):
    """An answer whose headers are read without the parser of e-mail, which takes as long as all the rest."""

    def begin(self) -> None:
        """Read the status and the headers, as the base class does."""
        if self.headers is not None:
            return
        # What is private here has stood unchanged since Python 3.0; the tests of this module would tell.
        version, status, reason = self._read_status()
        while status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS:
            _headers(self.fp)
            version, status, reason = self._read_status()
        if not version.startswith("HTTP/1.") and version != "HTTP/0.9":
            raise UnknownProtocol(version)
        self.version = 10 if version in {"HTTP/1.0", "HTTP/0.9"} else 11
        self.code = self.status = status
        self.reason = reason.strip()
        headers = _headers(self.fp)
        self.headers = self.msg = headers
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()
        self.length = None if self.chunked else _length(headers.get("content-length"))
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.length = 0
        if not self.will_close and not self.chunked and self.length is None:
            self.will_close = True


def _headers(file: BinaryIO) -> _Headers:
    headers = _Headers()
    for _ in range(_MAX_HEADERS):
        line = file.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise LineTooLong("header line")
        if not line.endswith(b"\n"):
            raise HTTPException("the answer was cut off within its headers")
        if line in {b"\r\n", b"\n"}:
            return headers
        name, _colon, value = line.decode("latin-1").partition(":")
        key = name.strip().lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    raise HTTPException(f"more than {_MAX_HEADERS} headers")


def _length(given: str | None) -> int | None:
    """Read a Content-Length; one that stands there twice is the same twice (RFC 9110, 8.6)."""
    if given is None:
        return None
    first, *others = (one.strip() for one in given.split(","))
    if not first.isdecimal() or any(one != first for one in others):
        raise HTTPException("the answer has no valid Content-Length")
    return int(first)


def whole(raw: HTTPResponse) -> bytes:
    """Read the body to its end, decoded where the server compresses although asked not to."""
    if raw.length is not None and raw.length <= MAX_BODY and not raw.headers.get("Content-Encoding"):
        return raw.read()
    headers = dict(raw.headers.items())
    coded = urllib3.HTTPResponse(raw, headers, original_response=raw, preload_content=False)
    chunks, length = [], 0
    for chunk in coded.stream(_CHUNK, decode_content=True):
        chunks.append(chunk)
        length += len(chunk)
        if length > MAX_BODY:
            raise rx.ContentDecodingError(f"more than {MAX_BODY} bytes")
    return b"".join(chunks)
