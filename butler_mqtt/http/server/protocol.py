"""
uvicorn's HTTP protocol with the limits it leaves to a proxy in front of it.

A head that does not come to its end, a body that trickles, an answer that is
not read: each has its time, after which the connection is closed. What comes
is given to the parser in small pieces, so that after each one the limits can
be looked at and nothing is read far ahead. Trailers count as a part of the
head, and are thrown away: nothing here asks for any, and in a head they would
come after the request was judged (RFC 9110, 6.5.1). The name in a client
certificate is put into the ASGI scope as the TLS extension says
(https://asgi.readthedocs.io/en/latest/specs/tls.html).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

#: Bytes given to the parser at a time. So many may be parsed beyond a limit: of the shortest requests there
#: are, all sent at once, some dozens.
_PIECE = 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may take; bytes and seconds."""

    #: The request line, all headers and all trailers; and each size of a chunk with its extensions.
    head_bytes: int = 16 * 1024
    #: A body, with the frames of its chunks, is read this far and thrown away after it was refused, so that
    #: the refusal can be read.
    discarded_bytes: int = 32 * 1024 * 1024
    #: For the TLS handshake, and again for the head, counted from the connection or the head's first byte.
    head_seconds: float = 10.0
    #: For the body, counted from the end of the head.
    body_seconds: float = 30.0
    #: For which an answer may be left unread.
    unread_seconds: float = 30.0
    #: Between two requests.
    idle_seconds: int = 15
    #: Connections held at the same time, of all clients; each waiting caller is one. All listeners together
    #: stay well below 1024 descriptors, which is as many as a process may usually open.
    connections: int = 400


class _Part(Enum):
    """What of a request is being read."""

    #: Nothing yet: what comes begins a request.
    NONE = auto()
    HEAD = auto()
    #: With its trailers.
    BODY = auto()


class Protocol(HttpToolsProtocol):
    """One connection, within *limits*."""

    def __init__(self, limits: HttpLimits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._part = _Part.NONE
        self._held = b""
        #: Nothing more is read: the last answer that is owed ends the connection.
        self._deaf = False
        self._header_bytes = 0
        self._body_bytes = 0
        #: Since something was finished: a request, its head, a piece of the body, the size of a chunk.
        #: While a head is read, that is all of it; after the last chunk, all trailers.
        self._unfinished_bytes = 0
        self._client_name: str | None = None

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            # Whatever the client leaves unread is known at once, also when we have closed our side already;
            # the end of TLS has a time of its own.
            transport.set_write_buffer_limits(high=0)
        else:
            self._client_name = _common_name(tls.getpeercert())
        self._expect(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all timers."""
        self._expect(None)
        self._writable()
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, piece by piece; what comes after a request that has to wait for its turn is kept."""
        data, self._held = self._held + data, b""
        for start in range(0, len(data), _PIECE):
            if self._is_over():
                return
            if self.pipeline:
                self._held = data[start:]
                self.flow.pause_reading()
                return
            self._read(data[start : start + _PIECE])

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._writable()

    def on_response_complete(self) -> None:
        """Go on with what the client has sent meanwhile."""
        super().on_response_complete()
        if self._held and not self.transport.is_closing():
            self.loop.call_soon(self.data_received, b"")

    def _read(self, piece: bytes) -> None:
        if self._part is _Part.NONE and self._deadline is None:
            self._expect(self._limits.head_seconds)
        self._unfinished_bytes += len(piece)
        if self._part is _Part.BODY:
            self._body_bytes += len(piece)
        super().data_received(b"")  # there is something again: it is not idle any longer
        self._parse(piece)
        if self._is_over():
            return
        head_bytes = self._header_bytes if self._part is _Part.BODY else 0
        if head_bytes + self._unfinished_bytes > self._limits.head_bytes:
            self._refuse_head()
        elif self._body_bytes > self._limits.discarded_bytes:
            self.transport.abort()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as end:
            self._parse_without_upgrade(data[end.args[0] :])
        except httptools.HttpParserError:
            self._end(400, "invalid_request", "what was sent is not an HTTP request")

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """
        Read a request that wishes for another protocol, and *rest* behind its head, as one that does not.

        There is no other, and the wish may be ignored (RFC 9110, 7.8), but the parser takes what follows it
        for the other protocol. Java's HTTP client wishes for HTTP/2 in the first request to each server.
        """
        if self._is_over():
            return
        line = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        headers = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"".join([line, *headers, b"\r\n", rest]))

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._part = _Part.HEAD
        self._header_bytes = self._body_bytes = 0
        if self._client_name is not None:
            self.scope["extensions"] = {"tls": {"client_cert_name": self._client_name}}
        self._expect(self._limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        """Count the request line, which may come in pieces."""
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; a trailer is not for the application."""
        if self._part is _Part.HEAD:
            self._header_bytes += len(name) + len(value) + 4
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application have the request, unless its head is too long."""
        self._unfinished_bytes = 0
        if self._header_bytes > self._limits.head_bytes:
            self._refuse_head()
        if self.parser.get_method() == b"CONNECT":
            self._end(400, "invalid_request", "this is no proxy")
        if self._is_over() or self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self._part = _Part.BODY
        self._expect(self._limits.body_seconds)

    def on_chunk_header(self) -> None:
        """Note that the size of a chunk, with its extensions, has come to its end."""
        self._unfinished_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unfinished_bytes = 0
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for the body."""
        if self.parser.should_upgrade():
            return
        self._part = _Part.NONE
        self._unfinished_bytes = 0
        self._expect(None)
        if self._is_over():
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            # It was answered before it had come: the pause until the next one begins here.
            self._expect(float(self._limits.idle_seconds))

    # ---- ends

    def _expect(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._too_slow, seconds)

    def _too_slow(self, seconds: float) -> None:
        self._deadline = None
        if self._part is not _Part.BODY and self._owes_an_answer():
            self._expect(seconds)  # the client waits for us
            return
        if self._part is _Part.NONE and self.cycle is not None:
            self.transport.close()  # an answer now would be taken for that of the next request
            return
        part = "body" if self._part is _Part.BODY else "head"
        self._end(408, "request_timeout", f"the {part} of the request did not come within {seconds:g} s")

    def _refuse_head(self) -> None:
        what = "trailers" if self._part is _Part.BODY else "request line"
        limit = self._limits.head_bytes
        self._end(431, "headers_too_large", f"{what} and headers exceed {limit} bytes")

    def _is_over(self) -> bool:
        return self._deaf or self.transport.is_closing()

    def _owes_an_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end(self, status: int, code: str, details: str) -> None:
        """Refuse what is read and close; without a word, and later, where another answer comes first."""
        if self.transport.is_closing():
            return
        if self._owes_an_answer():
            if self._part is not _Part.BODY:
                self._deaf = True
                self.cycle.keep_alive = False
                return
            if self.pipeline or self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
        elif self._part is _Part.BODY:
            self.transport.close()  # answered already
            return
        body = json.dumps(
            {"error": STATUS_LINE[status][13:].decode().strip(), "details": details, "code": code}
        )
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[status] + head + body.encode())
        self.transport.close()

    def _writable(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _common_name(certificate: Any) -> str | None:
    """Give the common name of a verified client certificate, as `ssl.SSLSocket.getpeercert` tells it."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None
