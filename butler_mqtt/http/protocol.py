"""
uvicorn's HTTP protocol with the limits it leaves to a proxy in front of it.

A head that does not come to its end, a body that trickles, an answer that is
not read: each has its time, after which the connection is closed. The name in
a client certificate is put into the ASGI scope as the TLS extension says
(https://asgi.readthedocs.io/en/latest/specs/tls.html).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take; bytes and seconds."""

    #: The request line and all headers.
    head_bytes: int = 16 * 1024
    #: A body is read this far and thrown away after it was refused, so that the refusal can be read.
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


class Protocol(HttpToolsProtocol):
    """One connection, within *limits*."""

    def __init__(self, limits: Limits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0
        self._header_bytes = 0
        self._body_bytes = 0
        self._client_name: str | None = None

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._client_name = _common_name(tls.getpeercert())
        self._expect("head", self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all timers."""
        self._expect("", None)
        self._writable()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and stop at a head that is too long."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self._refuse_head()

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._writable()

    # ---- the parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        self._header_bytes = self._body_bytes = 0
        if self._client_name is not None:
            self.scope["extensions"] = {"tls": {"client_cert_name": self._client_name}}
        self._expect("head", self._limits.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count, also when the whole head came in one piece."""
        self._header_bytes += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application have the request, unless its head is too long."""
        self._in_head = False
        self._head_bytes = 0
        if self._header_bytes + len(self.url) > self._limits.head_bytes:
            self._refuse_head()
            return
        self._expect("body", self._limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        if self.transport.is_closing():
            return
        if self._body_bytes > self._limits.discarded_bytes:
            self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for the body."""
        self._expect("", None)
        if not self.transport.is_closing():
            super().on_message_complete()

    # ---- ends

    def _expect(self, what: str, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._too_slow, what, seconds)

    def _too_slow(self, what: str, seconds: float) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._end(408, "request_timeout", f"the {what} of the request did not come within {seconds:g} s")
        else:
            self.transport.abort()

    def _refuse_head(self) -> None:
        limit = self._limits.head_bytes
        self._end(431, "headers_too_large", f"request line and headers exceed {limit} bytes")

    def _end(self, status: int, code: str, details: str) -> None:
        if self.transport.is_closing():
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
