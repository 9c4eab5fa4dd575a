"""
uvicorn's HTTP protocol with the limits it leaves to a proxy in front of it.

An unfinished head, a slow body, a response that is not read: each has its
time, after which the connection is closed. Received bytes go to the parser in
small pieces: the limits are checked after each, and little is read ahead.
Trailers count as part of the head and are discarded: nothing here needs them,
and they come after the request was checked (RFC 9110, 6.5.1). The name in a
client certificate is put into the ASGI scope as the TLS extension says
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

#: Bytes for the parser at a time. That many may be parsed beyond a limit: some dozens of the shortest
#: requests, all sent at once.
_PIECE = 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may use; bytes and seconds."""

    #: The request line, all headers and all trailers; and each size of a chunk with its extensions.
    head_bytes: int = 16 * 1024
    #: A refused body, with the frames of its chunks, is read this far and discarded, so that the client
    #: reads the refusal.
    discarded_bytes: int = 32 * 1024 * 1024
    #: For the TLS handshake, and again for the head, counted from the connection or the head's first byte.
    head_seconds: float = 10.0
    #: For the body, counted from the end of the head.
    body_seconds: float = 30.0
    #: For which a response may be left unread.
    unread_seconds: float = 30.0
    #: Between two requests.
    idle_seconds: int = 15
    #: Connections open at the same time, of all clients; each waiting caller has one. All listeners together
    #: stay well below 1024, the usual limit of descriptors of a process.
    connections: int = 400


class _Part(Enum):
    """The part of a request that is being read."""

    #: None: the next byte begins a request.
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
        #: Nothing more is read: the last pending response ends the connection.
        self._ending = False
        self._header_bytes = 0
        self._trailer_bytes = 0
        self._body_bytes = 0
        #: Bytes since the last end of a request, a head, a piece of a body or the size of a chunk.
        #: While a head is read, that is all of it; after the last chunk, all trailers.
        self._unfinished_bytes = 0
        self._client_name: str | None = None

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            # Unread bytes are noticed at once, also when this side is closed already; the end of TLS has a
            # time of its own.
            transport.set_write_buffer_limits(high=0)
        else:
            self._client_name = _common_name(tls.getpeercert())
        self._expect(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self._expect(None)
        self._writable()
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, piece by piece; bytes behind a request that waits for the one before it are kept."""
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
        """Start the time for the client to read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue to write."""
        super().resume_writing()
        self._writable()

    def on_response_complete(self) -> None:
        """Continue with what the client has sent in the meantime."""
        super().on_response_complete()
        if self._held and not self.transport.is_closing():
            self.loop.call_soon(self.data_received, b"")

    def _read(self, piece: bytes) -> None:
        if self._part is _Part.NONE and self._deadline is None:
            self._expect(self._limits.head_seconds)
        self._unfinished_bytes += len(piece)
        if self._part is _Part.BODY:
            self._body_bytes += len(piece)
        super().data_received(b"")  # it is not idle any longer
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
        Read a request with `Upgrade`, and *rest* behind its head, as one without.

        An upgrade may be ignored (RFC 9110, 7.8), and none is offered here, but the parser takes what follows
        for the other protocol. Java's HTTP client asks for HTTP/2 in the first request to each server.
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
        self._header_bytes = self._trailer_bytes = self._body_bytes = 0
        if self._client_name is not None:
            self.scope["extensions"] = {"tls": {"client_cert_name": self._client_name}}
        self._expect(self._limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        """Count the request line, which may come in pieces."""
        self._header_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; a trailer is not for the application."""
        size = len(name) + len(value) + 4
        if self._part is _Part.HEAD:
            self._header_bytes += size
            super().on_header(name, value)
        else:
            self._trailer_bytes += size

    def on_headers_complete(self) -> None:
        """Pass the request to the application, unless its head is too long."""
        self._unfinished_bytes = 0
        if self._header_bytes > self._limits.head_bytes:
            self._refuse_head()
        if self.parser.get_method() == b"CONNECT":
            self._end(400, "invalid_request", "this server is not a proxy")
        if self._is_over() or self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self._part = _Part.BODY
        self._expect(self._limits.body_seconds)

    def on_chunk_header(self) -> None:
        """Count anew behind the size of a chunk and its extensions."""
        self._unfinished_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._unfinished_bytes = 0
        if not self._is_over():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for the body."""
        if self.parser.should_upgrade():
            return
        if self._header_bytes + self._trailer_bytes > self._limits.head_bytes:
            self._refuse_head()  # they came together with the end, before their bytes could be counted
        self._part = _Part.NONE
        self._unfinished_bytes = 0
        self._expect(None)
        if self._is_over():
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            # It was answered before its end: the idle time begins here.
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
        if self._part is not _Part.BODY and self._response_pending():
            self._expect(seconds)  # the client waits for a response
            return
        if self._part is _Part.NONE and self.cycle is not None:
            self.transport.close()  # a response now would count for the next request
            return
        part = "body" if self._part is _Part.BODY else "head"
        self._end(408, "request_timeout", f"the {part} of the request did not come within {seconds:g} s")

    def _refuse_head(self) -> None:
        what = "trailers" if self._part is _Part.BODY else "request line"
        limit = self._limits.head_bytes
        self._end(431, "headers_too_large", f"{what} and headers exceed {limit} bytes")

    def _is_over(self) -> bool:
        return self._ending or self.transport.is_closing()

    def _response_pending(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end(self, status: int, code: str, details: str) -> None:
        """Refuse the request and close; later and without a response where another one comes first."""
        if self.transport.is_closing():
            return
        if self._response_pending():
            if self._part is not _Part.BODY:
                self._ending = True
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
    """Return the common name of a verified client certificate, a value of `ssl.SSLSocket.getpeercert`."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None
