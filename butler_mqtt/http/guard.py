"""Who may ask, and how often: tokens, client certificates, no foreign pages, a rate for each caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from butler_mqtt.errors import RequestError
from butler_mqtt.http.origins import refuse_foreign_host, refuse_foreign_origin, refuse_long_body
from butler_mqtt.http.responses import RefusalResponse, refusal_answer
from butler_mqtt.loopback import is_loopback
from butler_mqtt.settings import RestSettings, Token

#: Requests a caller may make in the long run, each second, and at once after a pause. Far above what a
#: sender needs (a morning's backlog of 10,000 passes in 6 s): it stops a sender that runs wild.
RATE = 1000.0
BURST = 4000.0
#: Callers remembered; the one not seen for longest is forgotten first.
MAX_CALLERS = 10_000

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_log = logging.getLogger("butler_mqtt.http")


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Rate:
    """
    A token bucket for each caller.

    Args:
        rate: Requests per second in the long run.
        burst: Requests at once after a pause.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self, rate: float = RATE, burst: float = BURST, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Count one request of *caller*; give the seconds until it may ask again, 0 when it may now."""
        now = self._monotonic()
        bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self._rate


def token_name(token: str, known: Sequence[Token]) -> str | None:
    """Give the name of a token, None when it is not known; takes as long for each one that is not."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for one in known:
        if hmac.compare_digest(digest, one.sha256):
            found = one.name
    return found


class Guard:
    """
    Lets a request through, with the name of its caller in `scope["state"]["principal"]`.

    Args:
        app: What is guarded.
        rest: Tokens, and whether client certificates count.
        rate: How often each caller may ask.
        refused: Counts refusals, by code.
    """

    #: Open to everybody, so that a supervisor needs no token.
    OPEN = frozenset({"/healthz", "/readyz"})

    def __init__(self, app: ASGIApp, rest: RestSettings, rate: Rate, refused: Callable[[str], None]) -> None:
        self._app = app
        self._tokens = rest.tokens
        self._certificates = rest.tls.enable and rest.tls.ca is not None
        #: Decided here, once: a listener that asks never stops asking.
        self._asks = bool(self._tokens) or self._certificates
        self._loopback = is_loopback(rest.server_host)
        self._max_body_bytes = rest.max_body_bytes
        self._rate = rate
        self._refused = refused

    def reconfigured(self, rest: RestSettings) -> None:
        """
        Judge by other tokens from the next request on; called from another thread.

        The first token closes a door that was open; taking the last one away opens none.
        """
        if self._asks and not rest.tokens and self._tokens:
            _log.error(
                "restServerConfig.auth.tokens is empty now: the REST door stays closed, %s; "
                "add a token and reload, or restart the daemon if everybody may start tasks",
                "only client certificates get in" if self._certificates else "nobody gets in",
                extra={"action": "rest_no_tokens"},
            )
        self._asks = self._asks or bool(rest.tokens)
        self._tokens = rest.tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 413 or 429, or pass the request on."""
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        method: str = scope["method"]
        try:
            principal = self._caller(request, method) if scope["path"] not in self.OPEN else None
            self._limit(principal or f"address {_address(request)}")
            self._refuse_pages(request)
            if method in _SAFE:
                refuse_long_body(request, self._max_body_bytes)
        except RequestError as refusal:
            self._refused(refusal.code)
            await refusal_answer(refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)

    def _caller(self, request: HTTPConnection, method: str) -> str | None:
        """Give the caller's name, None where everybody may ask; raises RequestError `unauthorized`."""
        tls = request.scope.get("extensions", {}).get("tls", {})
        certified = tls.get("client_cert_name")
        if self._certificates and isinstance(certified, str):
            return certified
        if not self._asks:
            return None
        token = _token(request.headers.get("authorization", ""), method)
        name = None if token is None else token_name(token, self._tokens)
        if name is not None:
            return name
        self._limit(f"address {_address(request)}")
        _log.warning(
            "a caller from %s was refused: %s",
            _address(request),
            "its token is not known" if token else "it sent no token",
            extra={"action": "rest_unauthorized"},
        )
        raise RefusalResponse(
            "unauthorized",
            "Unauthorized",
            "the token is not one of restServerConfig.auth.tokens"
            if token
            else "send the header 'Authorization: Bearer <token>'"
            + (" or a client certificate" if self._certificates else ""),
            headers={"WWW-Authenticate": _challenge(method)},
        )

    def _refuse_pages(self, request: HTTPConnection) -> None:
        """Refuse what a page in a browser may have made; a bearer token no browser sends by itself."""
        try:
            if not self._asks and self._loopback:
                refuse_foreign_host(request)
            if not (self._asks and _is_bearer(request)):
                refuse_foreign_origin(request)
        except RequestError as refusal:
            _log.warning(
                "a request from %s was refused: %s",
                _address(request),
                refusal.details,
                extra={"action": "rest_forbidden"},
            )
            raise

    def _limit(self, caller: str) -> None:
        seconds = self._rate.wait(caller)
        if seconds:
            raise RefusalResponse(
                "rate_limited",
                "Too many requests",
                f"more than {RATE:.0f} requests a second; try again later",
                headers={"Retry-After": str(max(1, round(seconds)))},
            )


def _is_bearer(request: HTTPConnection) -> bool:
    return request.headers.get("authorization", "").strip().lower().startswith("bearer ")


def _token(header: str, method: str) -> str | None:
    """Give the token of an Authorization header, None when there is none."""
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    # A browser can only send Basic; it does so by itself, also for other sites, hence not for requests
    # that change something.
    if scheme.lower() == "basic" and method in _SAFE:
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except ValueError:
            return None
    return None


def _challenge(method: str) -> str:
    bearer = 'Bearer realm="butler-mqtt"'
    return f'{bearer}, Basic realm="butler-mqtt, token as password"' if method in _SAFE else bearer


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client else "unknown"
