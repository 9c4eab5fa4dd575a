"""
`requests`' adapter over one connection that knows what was sent and keeps its limits.

Only public faces are used: the methods that `HTTPAdapter` has for subclasses,
urllib3's pool with a connection class of ours, `SSLContext.sslsocket_class`,
and `http.client`'s `connect`, `send` and `response_class`.

Whether anything was sent cannot be seen from the exception: `ConnectionError`
covers both a refused connection and an answer cut off, and `ReadTimeout` also
a TLS handshake that hangs. So the connection itself notes when it begins to write.
"""

from __future__ import annotations

import http.client
import logging
import socket
import struct
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, InsecureRequestWarning, NameResolutionError

from butler_mqtt.qrs.answer_limits import Meter
from butler_mqtt.qrs.tls_context import HandshakeSocket, tls_context
from butler_mqtt.settings import QrsSettings as Settings

#: A connection idle for longer is not used again: the server or a firewall may be dropping it right now,
#: and a start written into it would be in doubt.
MAX_IDLE_SECONDS = 30.0

#: Close with a reset (`{l_onoff, l_linger}`): what the peer has not acknowledged is dropped. Without, the
#: kernel goes on sending a POST after `close` or the end of the process, and a start that is repeated since
#: nothing of it shows would be a second one.
_RESET_ON_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

#: Seconds by which the timeout of a socket may be wrong.
_SLACK = 0.01

Resolve = Callable[[str, int], list[str]]

# It would log the address of a call, with what senders wrote, where the headers of an answer are odd.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class _FinalResponse(http.client.HTTPResponse):
    """An answer behind all informational ones (1xx), of which `http.client` skips 100 only."""

    def begin(self) -> None:
        super().begin()
        while HTTPStatus.OK > self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = None  # type: ignore[assignment] # `begin` reads a head where none is
            super().begin()


if TYPE_CHECKING:
    _Socket = socket.socket
    _Connection = HTTPConnection
else:
    _Socket = _Connection = object


class _MeteredSocket(_Socket):
    """A socket that reads within the limits of the present call."""

    meter: Meter

    def recv_into(self, *args: Any, **options: Any) -> int:
        """Read as the base class does; raises AnswerTooSlow or AnswerTooLarge."""
        left, timeout = self.meter.left(), self.gettimeout()
        if timeout is None or left < timeout:
            self.settimeout(left)
        count = super().recv_into(*args, **options)
        self.meter.received(count)
        return count

    def settimeout(self, value: float | None) -> None:
        """Set it where it changes: the system is asked for that, and other threads go first."""
        now = self.gettimeout()
        if not value or not now or abs(value - now) > _SLACK:
            super().settimeout(value)


class _PlainSocket(_MeteredSocket, socket.socket):
    """Without TLS."""


class _TlsSocket(_MeteredSocket, HandshakeSocket):
    """Over TLS; a handshake is bounded by the timeout of the socket as a whole."""


def addresses_of(host: str, port: int) -> list[str]:
    """Resolve *host*; how long that takes is up to the resolver of the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return [socket.getnameinfo(one[4], numeric)[0] for one in found]


class _Metered(_Connection):
    """A connection of urllib3 that connects in a bounded time and notes when it begins to write."""

    response_class = _FinalResponse
    meter: Meter
    resolve: Resolve

    def connect(self) -> None:
        """Connect to the first address that answers; all share the time to connect."""
        host, until = self.host, time.monotonic() + float(self.timeout or 0)
        try:
            addresses = self.resolve(host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        try:
            while True:
                self.host = addresses.pop(0)
                # Never 0, which would mean not to wait at all.
                self.timeout = max(0.001, (until - time.monotonic()) / (len(addresses) + 1))
                try:
                    super().connect()
                except ConnectTimeoutError:  # refused or unreachable too
                    if not addresses:
                        raise
                else:
                    return
        finally:
            self.host = host

    def send(self, data: Any) -> None:
        """Write a part of a call; connecting is none."""
        if self.sock is None:
            self.connect()
        if not self.meter.sent:
            self.meter.begin()
            # What the last read of the call before was given may already have passed for this one.
            self.sock.settimeout(self.meter.left())
        super().send(data)


class PlainConnection(_Metered, HTTPConnection):
    """A connection without TLS; *resolve* returns the addresses of a host."""

    def __init__(self, *args: Any, meter: Meter, resolve: Resolve = addresses_of, **options: Any) -> None:
        super().__init__(*args, **options)
        self.meter = meter
        self.resolve = resolve

    def connect(self) -> None:
        """Connect, and let the socket ask the meter before each read."""
        super().connect()
        plain = self.sock
        timeout = plain.gettimeout()
        sock = _PlainSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        sock.settimeout(timeout)
        sock.meter = self.meter
        self.sock = sock


class TlsConnection(_Metered, HTTPSConnection):
    """A connection over TLS; *resolve* returns the addresses of a host."""

    def __init__(
        self,
        *args: Any,
        meter: Meter,
        settings: Settings,
        resolve: Resolve = addresses_of,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.meter = meter
        self.resolve = resolve
        self._settings = settings

    def connect(self) -> None:
        """Connect and shake hands, with the certificate files as they are now."""
        # A context for each connection: a renewed certificate needs no restart.
        self.ssl_context = tls_context(self._settings)
        self.ssl_context.sslsocket_class = _TlsSocket
        super().connect()
        if isinstance(self.sock, _TlsSocket):  # as the context makes them
            self.sock.meter = self.meter


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = TlsConnection


class Adapter(HTTPAdapter):
    """
    `requests`' adapter bound to one server and one connection, for one thread.

    Environment, proxies and cookies have no part in it: they are the business
    of a `Session`, which would cost as much processor time again. The URL of a
    request is its path, encoded, and its body is read from `Response.raw`.
    """

    def __init__(self, settings: Settings, meter: Meter) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._pool = _pool(settings, meter)

    def get_connection_with_tls_context(self, *_args: Any, **_options: Any) -> urllib3.HTTPConnectionPool:
        """Return our one connection, whatever `requests` would make of its arguments."""
        return self._pool

    def cert_verify(self, *_args: Any) -> None:
        """Leave it to our TLS context, where `requests` would load CAs of its own."""

    def request_url(self, request: PreparedRequest, _proxies: Any) -> str:
        """Return what is asked for: no proxy has a part in it."""
        return str(request.url)

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Return the answer without searching it for cookies, which takes long."""
        response = Response()
        response.request = req
        response.status_code = resp.status
        response.reason = resp.reason
        response.headers = resp.headers
        response.raw = resp
        return response

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
        super().close()


def _pool(settings: Settings, meter: Meter) -> urllib3.HTTPConnectionPool:
    options: dict[str, Any] = {
        "maxsize": 1,
        "meter": meter,
        "socket_options": [
            _NO_DELAY,
            _RESET_ON_CLOSE,
            # The same for what the peer's machine does not acknowledge for so long: that connection is dead.
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(settings.read_timeout_seconds * 1000))),
        ],
    }
    if not settings.use_ssl:
        return _PlainPool(settings.host, settings.port, **options)
    if not settings.reject_unauthorized:
        # Logged once by ourselves.
        urllib3.disable_warnings(InsecureRequestWarning)
    return _TlsPool(
        settings.host,
        settings.port,
        cert_reqs="CERT_REQUIRED" if settings.reject_unauthorized else "CERT_NONE",
        server_hostname=settings.server_name or settings.host,
        settings=settings,
        **options,
    )
