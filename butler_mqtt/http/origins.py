"""
Refusals of what a foreign page makes a browser send.

A browser on this machine reaches what listens on loopback, and sends what the
pages that it shows want. Two headers show where a request comes from. `Origin`
names the page's site in every request to another site that changes something.
`Host` holds the name in the address: a site that resolves its own name to
127.0.0.1 (DNS rebinding) counts as the same site as this one, but `Host` is
then its name and none of this machine's. A caller with a bearer token is no
such page: browsers do not send one by themselves.
"""

from __future__ import annotations

import ipaddress
import re

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from butler_mqtt.contract import schema_errors
from butler_mqtt.errors import RequestError
from butler_mqtt.http.error_responses import HttpRefusal, refusal_response

#: `uri-host [ ":" port ]` (RFC 9112, 3.2), names and addresses only.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")


def refuse_foreign_host(request: HTTPConnection) -> None:
    """
    Refuse a `Host` that is not a name of this machine alone; for listeners on loopback.

    A request without one comes from no browser and passes.

    Raises:
        HttpRefusal: `forbidden`.
    """
    for host in request.headers.getlist("host"):
        if not names_loopback(host):
            raise HttpRefusal(
                "forbidden",
                "Host not served",
                f"Host is {schema_errors.shown(host)}; without tokens only localhost, 127.0.0.1 and [::1] "
                "are served. Use one of these; a proxy has to send one of them in the header Host",
            )


def refuse_foreign_origin(request: HTTPConnection) -> None:
    """
    Refuse what a page of another site makes a browser send.

    Raises:
        HttpRefusal: `forbidden`.
    """
    hosts = [host.lower() for host in request.headers.getlist("host")]
    for origin in request.headers.getlist("origin"):
        if origin.lower().partition("://")[2] not in hosts:
            raise HttpRefusal(
                "forbidden",
                "Request from another site",
                f"Origin is {schema_errors.shown(origin)}; what a browser sends for a page of another site "
                "is accepted with a bearer token only",
            )


def refuse_long_body(request: HTTPConnection, limit: int) -> None:
    """
    Refuse a body that is announced to be longer than *limit* bytes.

    Raises:
        RequestError: `too_large`.
    """
    size = content_length(request)
    if size > limit:
        raise RequestError(
            "too_large", "Request too large", f"the body has {size} bytes, {limit} are allowed"
        )


def content_length(request: HTTPConnection) -> int:
    """Return Content-Length, 0 without one; only its first 20 digits count."""
    text = request.headers.get("content-length", "")
    # Python refuses to read thousands of digits, and no body is that long.
    return int(text.lstrip("0")[:20] or "0") if text.isascii() and text.isdigit() else 0


class OriginGuard:
    """
    Passes on requests for the monitoring pages, unless a foreign page may have made them.

    Args:
        app: The application behind it.
        loopback: Whether the listener is on loopback, and serves only names of this machine.
        max_body_bytes: The longest body accepted; none is read.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool, max_body_bytes: int) -> None:
        self._app = app
        self._loopback = loopback
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 413, or pass the request on."""
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        try:
            if self._loopback:
                refuse_foreign_host(request)
            refuse_foreign_origin(request)
            refuse_long_body(request, self._max_body_bytes)
        except RequestError as refusal:
            await refusal_response(refusal, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def names_loopback(host: str) -> bool:
    """Return whether a `Host` is a name of this machine alone, with a port or without."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
