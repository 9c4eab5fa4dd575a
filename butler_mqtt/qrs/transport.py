"""One keep-alive connection to the QRS: sending, the whole answer, and what can go wrong."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from requests import PreparedRequest, Response
from requests import exceptions as rx
from requests.structures import CaseInsensitiveDict

from butler_mqtt.errors import ButlerError, QlikUnavailable
from butler_mqtt.qrs.answer_limits import Limits, Meter
from butler_mqtt.qrs.call_errors import RAISED, explain
from butler_mqtt.qrs.http_connection import MAX_IDLE_SECONDS, Adapter
from butler_mqtt.settings import QrsSettings as Settings

#: Bytes of a body that are read at a time.
_PIECE = 1 << 16
_XRFKEY = "X-Qlik-Xrfkey"
#: Not the system's: the key is no secret, and asking the system releases the interpreter lock.
_chance = random.Random()  # noqa: S311 -- see above
#: Sent with every call unless configured otherwise; compressing lists would cost both sides time.
_HEADERS = {
    "User-Agent": "butler-mqtt",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}

_NO_HEADERS: Mapping[str, str] = {}

_log = logging.getLogger("butler_mqtt.qrs")

#: Called with each call's method, path, HTTP status (`none` without an answer), seconds.
OnCall = Callable[[str, str, str, float], None]


class ExchangeFailed(ButlerError):
    """No whole answer came; `sent` is whether a byte of the request may have left."""

    def __init__(self, message: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One HTTP answer, whole; absent headers and an absent reason phrase are empty strings."""

    status: int
    body: bytes
    content_type: str = ""
    date: str = ""
    retry_after: str = ""
    reason: str = ""
    #: The lines of `Set-Cookie`; read only where the calls go through a proxy.
    cookies: tuple[str, ...] = ()


class Transport:
    """
    Sends one call at a time to one server and returns the whole answer; for one thread.

    Connecting and the TLS handshake take `connect_timeout_seconds` each at most;
    the answer has to keep within *limits*, those of the settings if None.
    `on_call` is called after each call.
    """

    def __init__(
        self,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
        on_call: OnCall | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._on_call = on_call
        self._limits = limits or Limits.of(settings)
        self._meter = Meter(self._limits)
        self._timeouts = (settings.connect_timeout_seconds, settings.read_timeout_seconds)
        # The same each time, since making one takes longer than all else that we do.
        self._request = PreparedRequest()
        self._request.headers = _headers(settings)
        self._root = settings.root
        #: Names of headers that the last call alone had.
        self._brought: tuple[str, ...] = ()
        self._adapter: Adapter | None = None
        self._used = 0.0

    def exchange(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        xrfkey: str | None = None,
    ) -> HttpAnswer:
        """
        Make one call of /qrs*path*; *query* is encoded already, *headers* are those of this call alone.

        With *xrfkey* the header has another key than the address, to see how the server refuses that.

        Raises:
            ExchangeFailed: No whole answer; the connection is closed.
        """
        began = self._monotonic()
        if began - self._used > MAX_IDLE_SECONDS:
            self.close()
        self._meter.reset()
        status = "none"
        try:
            if self._adapter is None:
                self._adapter = Adapter(self._settings, self._meter)
            request = self._prepared(method, path, query)
            if xrfkey is not None:
                request.headers[_XRFKEY] = xrfkey
            if headers or self._brought:
                for name in self._brought:
                    request.headers.pop(name, None)
                request.headers.update(headers)
                self._brought = tuple(headers)
            with self._adapter.send(request, stream=True, timeout=self._timeouts) as response:
                answer = self._whole(response)
            status = str(answer.status)
        except BaseException as error:
            self.close()
            if isinstance(error, QlikUnavailable):
                raise ExchangeFailed(str(error), sent=self._meter.sent) from error
            if isinstance(error, RAISED):
                raise ExchangeFailed(explain(error, self._settings), sent=self._meter.sent) from error
            raise
        finally:
            self._note_call(method, path, status, self._monotonic() - began)
        self._used = self._monotonic()
        return answer

    def _note_call(self, method: str, path: str, status: str, seconds: float) -> None:
        if self._on_call is not None:
            self._on_call(method, path, status, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            # Without the query, which has the names of tasks.
            _log.debug(
                "%s /qrs%s: %s after %.0f ms",
                method,
                path,
                status,
                seconds * 1000,
                extra={"action": "qrs_call"},
            )

    def _prepared(self, method: str, path: str, query: str) -> PreparedRequest:
        # Hex digits are all an xrfkey may have, and enough: 64 bits for a check that only asks for a match.
        # It stands first, since a server that stumbles over a filter must still find it.
        key = f"{_chance.getrandbits(64):016x}"
        request = self._request
        request.method = method
        request.url = f"{self._root}{path}?xrfkey={key}{'&' if query else ''}{query}"
        request.headers[_XRFKEY] = key
        return request

    def _whole(self, response: Response) -> HttpAnswer:
        """Read the answer to its end; only then its connection is free again."""
        headers = response.headers
        length = headers.get("Content-Length", "0")
        if not all(one.strip().isdecimal() for one in length.split(",")):
            raise rx.ContentDecodingError("the answer has no valid Content-Length")
        self._meter.body()
        body = bytearray()
        for piece in response.iter_content(_PIECE):
            body += piece
            # The meter counts what comes, not what a compressed body becomes.
            if len(body) > self._limits.body_bytes:
                raise self._meter.too_large()
        return HttpAnswer(
            status=response.status_code,
            body=bytes(body),
            content_type=headers.get("Content-Type", ""),
            date=headers.get("Date", ""),
            retry_after=headers.get("Retry-After", ""),
            reason=response.reason or "",
            cookies=tuple(headers.getlist("Set-Cookie")) if self._settings.through_proxy else (),  # type: ignore[attr-defined] # urllib3's, see Adapter
        )

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()


def _headers(settings: Settings) -> Any:
    """Return what every call brings along."""
    headers = CaseInsensitiveDict({"Host": _host(settings), **_HEADERS})
    headers.update(settings.headers)
    if settings.through_proxy:
        if settings.authentication == "jwt":
            # The token names the user.
            headers.pop("X-Qlik-User", None)
        return headers  # and with some calls others, in place of configured ones
    headers.pop(_XRFKEY, None)  # ours counts
    return dict(headers.items())  # urllib3 copies it for each call, which takes a dict a tenth of the time


def _host(settings: Settings) -> str:
    host = settings.host.encode("idna").decode("ascii") if not settings.host.isascii() else settings.host
    return f"{f'[{host}]' if ':' in host else host}:{settings.port}"
