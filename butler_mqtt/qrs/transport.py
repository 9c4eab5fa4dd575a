"""
One keep-alive connection to the QRS: TLS, sending, and what went wrong on the way.

`requests`' adapter is used without its Session, which costs more CPU than the
call itself and lets the environment (REQUESTS_CA_BUNDLE, proxies, .netrc)
override what is configured.

Whether anything was sent cannot be told from the exception: `ConnectionError`
covers both a refused connection and an answer cut off, and `ReadTimeout` also
a TLS handshake that hangs. So the adapter itself notes when it begins to write.
"""

from __future__ import annotations

import contextlib
import random
import select
import ssl
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from butler_mqtt.errors import ButlerError, QlikUnavailable
from butler_mqtt.qrs.faults import RAISED, explain
from butler_mqtt.qrs.reading import Raw, whole
from butler_mqtt.qrs.wire import text
from butler_mqtt.settings import Qrs as Settings

#: A connection idle for longer is not used again: the server or a firewall may be dropping it right now,
#: and a start written into it would be in doubt.
MAX_IDLE_SECONDS = 30.0

_XRFKEY = "X-Qlik-Xrfkey"
#: Not the system's: the key is no secret, and asking the system gives the interpreter away.
_chance = random.Random()  # noqa: S311 -- see above
#: Sent with every call unless configured otherwise; compressing lists would cost both sides time.
_HEADERS = {
    "User-Agent": "butler-mqtt",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


#: Told of each call: method, path, HTTP status (`none` without an answer), seconds.
OnCall = Callable[[str, str, str, float], None]


class ExchangeFailed(ButlerError):
    """No whole answer came; `sent` tells whether a byte of the request may have left."""

    def __init__(self, message: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole; absent headers are empty strings."""

    status: int
    body: bytes
    content_type: str = ""
    date: str = ""
    retry_after: str = ""
    location: str = ""


class _TlsConnection(urllib3.connection.HTTPSConnection):
    def __init__(self, *args: Any, settings: Settings, **options: Any) -> None:
        super().__init__(*args, **options)
        self._settings = settings

    def connect(self) -> None:
        # A context for each connection reads the files again: a renewed certificate needs no restart.
        self.ssl_context = tls_context(self._settings)
        super().connect()


def tls_context(settings: Settings) -> ssl.SSLContext:
    """
    Make the TLS context: TLS 1.2 or later, our certificate, their CA.

    Raises:
        QlikUnavailable: A certificate file cannot be used.
    """
    step = f"cert.clientCertCA ({settings.client_cert_ca})"
    try:
        ca = settings.client_cert_ca
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not settings.reject_unauthorized:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.client_cert is not None:
            step = f"cert.clientCert ({settings.client_cert}) with clientCertKey ({settings.client_cert_key})"
            # An empty password instead of none: OpenSSL would ask for one on the terminal and wait.
            context.load_cert_chain(settings.client_cert, settings.client_cert_key, password="")
    except (OSError, ValueError) as error:
        raise QlikUnavailable(
            f"{step} cannot be used: {text(str(error))}; check the file, its permissions and that it is PEM"
            " without a password"
        ) from error
    return context


class _Adapter(HTTPAdapter):
    """
    `requests`' adapter bound to one server and one connection.

    A call goes straight through the connection: what `requests`, urllib3 and
    the standard library work out anew for each one costs more than the call
    itself. *headers* go with every call, those of a request come on top.

    Raises:
        ValueError: A header cannot be sent.
    """

    def __init__(self, settings: Settings, headers: Mapping[str, str]) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        host = {} if any(name.lower() == "host" for name in headers) else {"Host": _host(settings)}
        self._head = _lines({**host, **headers})
        #: Whether a byte of the call in hand may have left.
        self.sent = False
        self._timeouts = (settings.connect_timeout_seconds, settings.read_timeout_seconds)
        options: dict[str, Any] = {"timeout": settings.connect_timeout_seconds}
        if settings.use_ssl:
            options["cert_reqs"] = "CERT_REQUIRED" if settings.reject_unauthorized else "CERT_NONE"
            options["server_hostname"] = settings.server_name
            options["settings"] = settings
        kind = _TlsConnection if settings.use_ssl else urllib3.connection.HTTPConnection
        self._connection: urllib3.connection.HTTPConnection = kind(settings.host, settings.port, **options)
        self._readable = select.poll()
        # As urllib3 does for its pools: who forgets a connection has it closed.
        weakref.finalize(self, self._connection.close)

    def send(self, request: PreparedRequest, *_args: Any, **_options: Any) -> Response:
        """Make the call and read its answer whole: only then the connection is free again."""
        if not self.connected:
            connection = self._connection
            connection.close()
            connection.timeout = self._timeouts[0]
            connection.connect()
            connection.sock.settimeout(self._timeouts[1])
            self._readable = select.poll()
            self._readable.register(connection.sock, select.POLLIN)
        self.write(request)
        return self.read(request)

    @property
    def connected(self) -> bool:
        """Tell whether a call can be written: not when it is new, or the server has closed it meanwhile."""
        # Something to read that nobody asked for is the end.
        return self._connection.sock is not None and not self._readable.poll(0)

    def write(self, request: PreparedRequest) -> None:
        """Write the call."""
        line = f"{request.method} {request.url} HTTP/1.1\r\n".encode("ascii")
        call = line + self._head + _lines(request.headers) + b"\r\n"
        self.sent = True
        self._connection.sock.sendall(call)

    def read(self, request: PreparedRequest) -> Response:
        """Read the answer to the call."""
        connection = self._connection
        # Reading at once would find nothing, wait, and read again: three times giving the interpreter away.
        if not self._readable.poll(self._timeouts[1] * 1000):
            raise TimeoutError("The read operation timed out")
        with contextlib.closing(Raw(connection.sock, method=request.method)) as raw:
            raw.begin()
            response = Response()
            response.status_code = raw.status
            response.headers = raw.headers  # type: ignore[assignment] # as good for looking up a name
            # As `requests` itself does when it has read all.
            response._content = whole(raw)
        if raw.will_close:
            connection.close()
        return response

    def close(self) -> None:
        self._connection.close()
        super().close()


class Transport:
    """
    Sends one call at a time to one server and gives back the whole answer; for one thread.

    The timeouts of the settings are seconds to connect (TLS included) and
    seconds between bytes, not a total. `on_call` is told of each call.
    """

    def __init__(
        self,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
        on_call: OnCall | None = None,
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._on_call = on_call
        configured = {name.lower() for name, _ in settings.headers}
        self._headers = {
            **{name: value for name, value in _HEADERS.items() if name.lower() not in configured},
            **{name: value for name, value in settings.headers if name.lower() != _XRFKEY.lower()},
        }
        self._request = PreparedRequest()
        self._adapter: _Adapter | None = None
        self._used = 0.0
        #: When the call in hand was begun by `send`, through what, and what went wrong; None when none was.
        self._begun: tuple[float, _Adapter, BaseException | None] | None = None

    def send(self, method: str, path: str) -> bool:
        """
        Write a call without a query if that needs no waiting.

        The next `exchange`, by whichever thread, must be the same call: it
        reads the answer, and raises what went wrong here.

        Returns:
            False when nothing was done, since a connection has to be made first.
        """
        adapter = self._adapter
        began = self._monotonic()
        if adapter is None or began - self._used > MAX_IDLE_SECONDS or not adapter.connected:
            return False
        failed: BaseException | None = None
        try:
            adapter.sent = False
            adapter.write(self._prepared(method, path, ""))
        except Exception as error:  # noqa: BLE001 -- kept for the one who asks for the answer
            failed = error
        self._begun = (began, adapter, failed)
        return True

    def exchange(self, method: str, path: str, query: str = "") -> Answer:
        """
        Make one call of /qrs*path*; *query* is encoded already.

        Raises:
            ExchangeFailed: No whole answer; the connection is closed.
        """
        begun, self._begun = self._begun, None
        began, adapter, failed = begun or (self._monotonic(), self._adapter, None)
        if begun is None and adapter is not None and began - self._used > MAX_IDLE_SECONDS:
            self.close()
            adapter = None
        status = "none"
        try:
            if failed is not None:
                raise failed
            if adapter is None:
                adapter = self._adapter = _Adapter(self._settings, self._headers)
            if begun is not None:
                answer = _answer(adapter.read(self._request))
            else:
                adapter.sent = False
                answer = _answer(adapter.send(self._prepared(method, path, query)))
            status = str(answer.status)
        except BaseException as error:
            self.close()
            sent = adapter is not None and adapter.sent
            if isinstance(error, QlikUnavailable):
                raise ExchangeFailed(str(error), sent=sent) from error
            if isinstance(error, RAISED):
                raise ExchangeFailed(explain(error, self._settings), sent=sent) from error
            raise
        finally:
            if self._on_call is not None:
                self._on_call(method, path, status, self._monotonic() - began)
        self._used = self._monotonic()
        return answer

    def _prepared(self, method: str, path: str, query: str) -> PreparedRequest:
        # Hex digits are all an xrfkey may have, and enough: 64 bits for a check that only asks for a match.
        # It stands first, since a server that stumbles over a filter must still find it.
        key = f"{_chance.getrandbits(64):016x}"
        request = self._request  # the same each time, since making one takes long
        request.method = method
        request.url = f"/qrs{path}?xrfkey={key}{'&' if query else ''}{query}"
        # A plain dict: no caller looks a header up in another letter case.
        headers = {_XRFKEY: key, "Content-Length": "0"} if method == "POST" else {_XRFKEY: key}
        request.headers = headers  # type: ignore[assignment] # see above
        return request

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()


def _host(settings: Settings) -> str:
    host = settings.host.encode("idna").decode("ascii") if not settings.host.isascii() else settings.host
    return f"{f'[{host}]' if ':' in host else host}:{settings.port}"


def _lines(headers: Mapping[str, str]) -> bytes:
    """Write headers as they are sent; raises ValueError for one that cannot be sent."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if text.count("\r") != len(headers) or text.count("\n") != len(headers):
        raise ValueError("a header has more than one line")
    return text.encode("latin-1")


def _answer(response: Response) -> Answer:
    headers = response.headers
    return Answer(
        status=response.status_code,
        body=response.content,
        content_type=headers.get("Content-Type", ""),
        date=headers.get("Date", ""),
        retry_after=headers.get("Retry-After", ""),
        location=headers.get("Location", ""),
    )
