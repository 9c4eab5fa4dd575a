"""Which requests pass: tokens, client certificates, no foreign pages, a rate limit for each caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from butler_mqtt.errors import RequestError
from butler_mqtt.http.error_responses import HttpRefusal, refusal_response
from butler_mqtt.http.origins import refuse_foreign_host, refuse_foreign_origin, refuse_long_body
from butler_mqtt.http.rate_limit import RATE, RateLimit
from butler_mqtt.loopback import is_loopback
from butler_mqtt.settings import RestSettings, Token

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_log = logging.getLogger("butler_mqtt.http")


def token_name(token: str, known: Sequence[Token]) -> str | None:
    """Return the name of a token, None for an unknown one; takes equally long for all unknown ones."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for one in known:
        if hmac.compare_digest(digest, one.sha256):
            found = one.name
    return found


class Guard:
    """
    Passes requests on, with the name of the caller in `scope["state"]["principal"]`.

    Args:
        app: The application behind it.
        rest: Tokens, and whether client certificates count.
        limit: How often each caller may send a request.
        refused: Counts refusals, by code.
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
        *,
        signed: Callable[[str], bool] = lambda _path: False,
    ) -> None:
        self._signed = signed
        self._app = app
        self._tokens = rest.tokens
        self._certificates = rest.tls.enable and rest.tls.ca is not None
        #: Once true, always true: a reload never opens a listener.
        self._authenticates = bool(self._tokens) or self._certificates
        self._loopback = is_loopback(rest.server_host)
        self._max_body_bytes = rest.max_body_bytes
        self._rate_limit = limit
        self._refused = refused

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 413 or 429, or pass the request on."""
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        method: str = scope["method"]
        signed = method not in _SAFE and self._signed(scope["path"])
        try:
            is_open = signed or scope["path"] in self.OPEN
            principal = None if is_open else self._caller(request, method)
            self._check_rate(principal or f"address {_address(request)}")
            if not signed:  # no page can make a browser sign
                self._refuse_pages(request)
            if method in _SAFE:
                refuse_long_body(request, self._max_body_bytes)
        except RequestError as refusal:
            self._refused(refusal.code)
            await refusal_response(refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)

    def _caller(self, request: HTTPConnection, method: str) -> str | None:
        """Return the caller's name, None where none is needed; raises RequestError `unauthorized`."""
        tls = request.scope.get("extensions", {}).get("tls", {})
        certified = tls.get("client_cert_name")
        if self._certificates and isinstance(certified, str):
            return certified
        if not self._authenticates:
            return None
        token = _token(request.headers.get("authorization", ""), method)
        name = None if token is None else token_name(token, self._tokens)
        if name is not None:
            return name
        self._check_rate(f"address {_address(request)}")
        _log.warning(
            "a caller from %s was refused: %s",
            _address(request),
            "its token is unknown" if token else "it sent no token",
            extra={"action": "rest_unauthorized"},
        )
        raise HttpRefusal(
            "unauthorized",
            "Unauthorized",
            "the token is not one of restServerConfig.auth.tokens"
            if token
            else "send the header 'Authorization: Bearer <token>'"
            + (" or a client certificate" if self._certificates else ""),
            challenges=_challenges(method),
        )

    def _refuse_pages(self, request: HTTPConnection) -> None:
        """Refuse what a foreign page may have made a browser send; none sends a bearer token by itself."""
        try:
            if not self._authenticates and self._loopback:
                refuse_foreign_host(request)
            if not (self._authenticates and _is_bearer(request)):
                refuse_foreign_origin(request)
        except RequestError as refusal:
            _log.warning(
                "a request from %s was refused: %s",
                _address(request),
                refusal.details,
                extra={"action": "rest_forbidden"},
            )
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
