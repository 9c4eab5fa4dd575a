"""Which requests pass: tokens, client certificates, no foreign pages, a rate limit for each caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.errors import RequestError
from butler_mqtt.http.error_responses import HttpRefusal, refusal_response
from butler_mqtt.http.origins import refuse_foreign_host, refuse_foreign_origin, refuse_long_body
from butler_mqtt.http.rate_limit import RATE, RateLimit
from butler_mqtt.http.refused_calls import RefusedCalls
from butler_mqtt.loopback import is_loopback
from butler_mqtt.settings import RestSettings, Token

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_log = logging.getLogger("butler_mqtt.http")


def known_token(token: str, known: Sequence[Token]) -> Token | None:
    """Return the one of *known* that *token* is, None for an unknown one; takes equally long for all."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for one in known:
        if hmac.compare_digest(digest, one.sha256):
            found = one
    return found


def has_expired(token: Token, now: int) -> bool:
    """Return whether a token is over at *now*, in milliseconds since 1970."""
    ends_at = to_ms(token.expires_at)
    return ends_at is not None and ends_at <= now


class _Authenticated(NamedTuple):
    """Who calls: the name of a token with its role, or that of a client certificate; None: nobody said."""

    principal: str | None
    certified: bool = False
    role: str = "sender"


_NOBODY = _Authenticated(None)


class Page(Protocol):
    """The page for operators: an application that lets in by sessions of its own."""

    def reconfigured(self, rest: RestSettings) -> None:
        """Let in with other tokens."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""


class Guard:
    """
    Passes requests on, with the name of the caller in `scope["state"]["principal"]`.

    `certified` beside it says whether that is the common name of a client
    certificate, `role` which role the token has, `signed` that nobody was asked who calls since the
    body is to be signed.

    Args:
        app: The application behind it.
        rest: Tokens, and whether client certificates count.
        limit: How often each caller may send a request.
        refused: Counts refusals, by code.
        calls: Logs refusals.
        page: What answers at `/ui` and below, if anything does.
        signed: Whether a path is that of a webhook whose callers sign the body: what is behind it checks
            the signature, and no token is asked for.
    """

    #: Paths without authentication, so that a supervisor needs no token.
    OPEN = frozenset({"/healthz", "/readyz"})

    def __init__(
        self,
        app: ASGIApp,
        rest: RestSettings,
        limit: RateLimit,
        refused: Callable[[str], None],
        calls: RefusedCalls,
        *,
        page: Page | None = None,
        signed: Callable[[str], bool] = lambda _path: False,
    ) -> None:
        self._signed = signed
        self._app = app
        self._page = page
        self._tokens = rest.tokens
        self._certificates = rest.tls.enable and rest.tls.ca is not None
        #: Once true, always true: a reload never opens a listener.
        self._authenticates = bool(self._tokens) or self._certificates
        self._loopback = is_loopback(rest.server_host)
        self._max_body_bytes = rest.max_body_bytes
        self._rate_limit = limit
        self._refused = refused
        self._calls = calls

    def reconfigured(self, rest: RestSettings) -> None:
        """
        Use other tokens from the next request on; called from another thread.

        The first token closes an open listener; removing the last one opens none.
        """
        if self._authenticates and not rest.tokens and self._tokens:
            _log.error(
                "restServerConfig.auth.tokens is empty now: the REST door stays closed, %s; "
                "add a token and reload, or restart the daemon if everybody may start tasks",
                "only client certificates get in" if self._certificates else "nobody gets in",
                extra={"action": "rest_no_tokens"},
            )
        self._authenticates = self._authenticates or bool(rest.tokens)
        self._tokens = rest.tokens
        if self._page is not None:
            self._page.reconfigured(rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 413 or 429, or pass the request on."""
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        method: str = scope["method"]
        page = self._page if self._page is not None and _is_of_page(scope["path"]) else None
        signed = method not in _SAFE and self._signed(scope["path"])
        try:
            principal, state = None, _NOBODY
            if not (signed or page is not None or scope["path"] in self.OPEN):
                state = self._caller(request, method)
                principal = state.principal
            self._check_rate(principal or f"address {_address(request)}")
            if not (signed or page is not None):  # no page can make a browser sign
                self._refuse_pages(request)
            if method in _SAFE:
                refuse_long_body(request, self._max_body_bytes)
        except RequestError as refusal:
            self._refused(refusal.code)
            await refusal_response(refusal, scope["path"])(scope, receive, send)
            return
        # A reload may change the webhook meanwhile: who was let in for a signature has to have one.
        scope.setdefault("state", {}).update(state._asdict(), signed=signed)
        await (page or self._app)(scope, receive, send)

    def _caller(self, request: HTTPConnection, method: str) -> _Authenticated:
        """Return who calls, nobody where nobody need say; raises RequestError `unauthorized`."""
        tls = request.scope.get("extensions", {}).get("tls", {})
        certified = tls.get("client_cert_name")
        if self._certificates and isinstance(certified, str):
            return _Authenticated(certified, certified=True)
        if not self._authenticates:
            return _NOBODY
        token = _token(request.headers.get("authorization", ""), method)
        known = None if token is None else known_token(token, self._tokens)
        # Not by the machine's clock: with one that is set back a token would be good again.
        if known is not None and not has_expired(known, now_ms()):
            return _Authenticated(known.name, role=known.role)
        self._check_rate(f"address {_address(request)}")
        if known is not None:
            why, details = f"the token {known.name} has expired", "the token has expired"
        elif token:
            why, details = "its token is unknown", "the token is not one of restServerConfig.auth.tokens"
        else:
            why, details = "it sent no token", "send the header 'Authorization: Bearer <token>'"
            details += " or a client certificate" if self._certificates else ""
        self._calls.unauthorized(f"a caller from {_address(request)} was refused: {why}")
        raise HttpRefusal("unauthorized", "Unauthorized", details, challenges=_challenges(method))

    def _refuse_pages(self, request: HTTPConnection) -> None:
        """Refuse what a foreign page may have made a browser send; none sends a bearer token by itself."""
        try:
            if not self._authenticates and self._loopback:
                refuse_foreign_host(request)
            if not (self._authenticates and _is_bearer(request)):
                refuse_foreign_origin(request)
        except RequestError as refusal:
            self._calls.forbidden(f"a request from {_address(request)} was refused: {refusal.details}")
            raise

    def _check_rate(self, caller: str) -> None:
        seconds = self._rate_limit.wait(caller)
        if seconds:
            raise HttpRefusal(
                "rate_limited",
                "Too many requests",
                f"more than {RATE:.0f} requests a second; try again later",
                headers={"Retry-After": str(max(1, round(seconds)))},
            )


def _is_of_page(path: str) -> bool:
    return path == "/ui" or path.startswith("/ui/")


def _is_bearer(request: HTTPConnection) -> bool:
    return request.headers.get("authorization", "").strip().lower().startswith("bearer ")


def _token(header: str, method: str) -> str | None:
    """Return the token of an Authorization header, None without one."""
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    # Browsers can send Basic only, and send it by themselves for pages of other sites too; so it does not
    # count for requests that change something.
    if scheme.lower() == "basic" and method in _SAFE:
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except ValueError:
            return None
    return None


def _challenges(method: str) -> list[str]:
    """Return a challenge a line: Chromium reads the first of a line alone."""
    bearer = 'Bearer realm="butler-mqtt"'
    return [bearer, 'Basic realm="butler-mqtt, token as password"'] if method in _SAFE else [bearer]


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client else "unknown"
