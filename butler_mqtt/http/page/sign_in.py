"""Signing in with a token and out again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.page.forms import check_csrf, read_form
from butler_mqtt.http.page.page_addresses import PageAddresses
from butler_mqtt.http.page.page_sessions import LONGEST_MS, PageSessions
from butler_mqtt.http.page.rendering import HEADERS, html, rendered
from butler_mqtt.http.rate_limit import RateLimit

COOKIE = "butler_mqtt_page"
_PAIR = f"{COOKIE}="
#: Attempts of one address that fail at once, and each second after that; and of all addresses together.
BURST, RATE = 10, 0.1
ALL_BURST, ALL_RATE = 200, 5.0
_ALL = "all"

_log = logging.getLogger("butler_mqtt.http")


class SignIn:
    """
    The form, and the session that it begins.

    Args:
        sessions: Begins and ends sessions.
        addresses: Tells whether the browser has the page by HTTPS.
        refused: Counts refusals, by code.
    """

    def __init__(
        self, sessions: PageSessions, addresses: PageAddresses, refused: Callable[[str], None]
    ) -> None:
        self._sessions = sessions
        self._addresses = addresses
        self._refused = refused
        self._of_address = RateLimit(RATE, BURST)
        self._of_all = RateLimit(ALL_RATE, ALL_BURST)

    async def show(self, request: Request) -> Response:
        """Show the form, or go on where somebody is signed in."""
        if request.state.session is not None:
            return _redirect(_local(request.query_params.get("next", "")))
        return html(_form(request.query_params.get("next", "")))

    async def begin(self, request: Request) -> Response:
        """Begin a session with the token of the form."""
        form = await read_form(request)
        address = request.client.host if request.client else "unknown"
        wait = max(self._of_address.ahead(address), self._of_all.ahead(_ALL))
        if wait:
            raise HttpRefusal(
                "rate_limited",
                "Too many attempts to sign in",
                f"try again in {max(1, round(wait))} s",
                headers={"Retry-After": str(max(1, round(wait)))},
            )
        secret = self._sessions.begin(form.get("token", "").strip())
        if secret is None:
            self._of_address.wait(address)
            self._of_all.wait(_ALL)
            self._refused("unauthorized")
            _log.warning(
                "somebody at %s could not sign in to the page: no token of "
                "restServerConfig.auth.tokens with role reader or operator",
                address,
                extra={"action": "page_sign_in_refused"},
            )
            return html(_form(form.get("next", ""), failed=True), 401)
        session = self._sessions.of(secret)
        _log.info(
            "%s signed in to the page from %s",
            session.name if session else "nobody",
            address,
            extra={"action": "page_signed_in"},
        )
        answer = _redirect(_local(form.get("next", "")))
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=LONGEST_MS // 1000,
            path="/ui",
            secure=self._addresses.is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def end(self, request: Request) -> Response:
        """End the session."""
        if request.state.session is not None:
            check_csrf(await read_form(request), request.state.session)
            self._sessions.end(request.state.secret)
        answer = _redirect("/ui/sign-in")
        answer.delete_cookie(COOKIE, path="/ui")
        return answer


def secrets_of(request: HTTPConnection) -> list[str]:
    """
    Return what a browser sends as the cookie of a session, perhaps several.

    Browsers know no ports and share what a sibling of a name sets for both: others can set a cookie of this
    name, which must not hide ours.
    """
    pairs = (pair.strip() for header in request.headers.getlist("cookie") for pair in header.split(";"))
    return [pair.removeprefix(_PAIR) for pair in pairs if pair.startswith(_PAIR)]


def _form(following: str, *, failed: bool = False) -> str:
    return rendered(
        "sign_in.html", title="Sign in", following=_local(following), failed=failed, session=None, part=""
    )


def _local(path: str) -> str:
    """Return *path* if it is one of the page, else where the page begins."""
    # `//host` would lead to another site, and so would a backslash in some browsers.
    plain = path.startswith("/ui/") and "\\" not in path and path.isprintable()
    return path if plain and not path.startswith("/ui/sign-") else "/ui/"


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, HEADERS)
