"""
The session at a Qlik proxy that all connections of this program share, and calls made in it.

A proxy opens a session for each call that brings credentials and no session's
cookie, and each session takes one of the few that a user may have at a time.
So one call logs in, alone, and the others bring its cookie. When a session is
over the proxy answers 401 or sends us to a login: such a call reached no
repository and did nothing, so it is made again in a new session.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from butler_mqtt.qrs import jwt_file
from butler_mqtt.qrs.answer_errors import is_page, quoted
from butler_mqtt.qrs.transport import ExchangeFailed, HttpAnswer, Transport
from butler_mqtt.settings import QrsSettings as Settings

#: The call that logs in: it reads, so that no start is the first call of a session.
_LOGIN = ("GET", "/about")
#: With which a proxy sends a caller without a session to a login.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

log = logging.getLogger("butler_mqtt.qrs")


class LoginRefused(ExchangeFailed):
    """The proxy takes our token or header no more, or there is no token; nothing was sent of the call."""

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)


class Exchange(Protocol):
    """One keep-alive connection to the repository, directly or through a proxy; for one thread."""

    def exchange(self, method: str, path: str, query: str = "", *, xrfkey: str | None = None) -> HttpAnswer:
        """Make one call of the repository; raises ExchangeFailed. *xrfkey* as of `Transport`."""

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a call brings along: the headers, and whether credentials are among them; compared by identity."""

    headers: dict[str, str] = field(repr=False)
    credentials: bool


class ProxySession:
    """The one session; thread-safe. Whoever finds none, or one that is over, logs in, and the others wait."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._place = f"{settings.host}:{settings.port}{settings.root}"
        self._lock = threading.Lock()
        self._cookies: dict[str, str] = {}
        self._login: Login | None = None
        #: The token of the session, and its file as it was then.
        self._token = ""
        self._file: tuple[int, ...] = ()
        #: Whether the present session has been accepted by its cookie alone.
        self._proven = False
        #: Whether this proxy wants credentials with each call, which then all bring both.
        self._both = settings.authentication == "header"

    def login(self, transport: Transport) -> Login:
        """
        Return what a call brings along; logs in over *transport* where there is no session yet.

        A token file that was changed is read again, and opens a session of its own.

        Raises:
            ExchangeFailed: The proxy cannot be reached or lets us in no more; nothing was sent.
        """
        login = self._login
        if login is not None and not self._file_changed():
            return login
        with self._lock:
            if self._login is None or self._is_new_token():
                self._login = self._logged_in(transport)
            return self._login

    def renewed(self, refused: Login, transport: Transport) -> Login:
        """
        Return what a call brings along that the proxy did not let through with *refused*.

        Raises:
            ExchangeFailed: As of `login`.
        """
        with self._lock:
            if self._login is not refused and self._login is not None:
                return self._login  # another thread has renewed it
            if not refused.credentials and not self._proven and self._token:
                # A session this new is not over: this proxy wants the token every time.
                self._both = True
                self._login = self._made()
                return self._login
            self._login = None
            self._login = self._logged_in(transport)
            log.info(
                "the session at the proxy %s was over: a new one is open",
                self._place,
                extra={"action": "qrs_session_renewed"},
            )
            return self._login

    def note_answer(self, login: Login, answer: HttpAnswer) -> None:
        """Record that the proxy let a call through, and keep the cookies that it set."""
        if not login.credentials:
            self._proven = True
        if answer.cookies:
            with self._lock:
                # What came on a session before this one belongs to that.
                if self._login is login and _keep(self._cookies, answer.cookies):
                    self._login = self._made()

    def refusal(self, answer: HttpAnswer) -> str:
        """Return why the proxy does not let us in, and what to do; one line."""
        what = f"{answer.status}" if answer.status == 401 else f"{answer.status}, to a login"
        if self._settings.authentication == "header":
            return (
                f"the proxy refuses our header ({what}): configQRS.headers.static must have the header that"
                " the virtual proxy (configQRS.virtualProxy) takes the user from"
            )
        return f"the proxy refuses the token of configQRS.jwtFile ({what}): {self._reason()}"

    def _reason(self) -> str:
        """Return what the token says of the time, else what else may be the reason."""
        try:
            claims = jwt_file.claims(self._token)
        except (ValueError, IndexError):
            return "it cannot be read"
        now = datetime.now(UTC)
        if claims.expires is not None and claims.expires <= now:
            return f"it expired on {claims.expires:%Y-%m-%d %H:%M} UTC; put a new one into the file"
        if claims.not_before is not None and claims.not_before > now:
            return f"it is not valid before {claims.not_before:%Y-%m-%d %H:%M} UTC; check the clocks"
        return (
            "check that it was signed with the key of the certificate in the virtual proxy"
            " (configQRS.virtualProxy), and that its claims have the names configured there"
        )

    def _logged_in(self, transport: Transport) -> Login:
        """Log in with credentials and without a cookie; with the lock held."""
        self._login, self._cookies, self._proven = None, {}, False
        file = self._file_state()
        self._token = self._read_token()
        self._file = file
        try:
            answer = transport.exchange(*_LOGIN, headers=self._credentials())
        except ExchangeFailed as error:
            raise ExchangeFailed(f"logging in at the proxy: {error}", sent=False) from error
        if wants_login(answer):
            raise LoginRefused(self.refusal(answer))
        if is_page(answer) if 200 <= answer.status < 300 else not answer.cookies:
            raise ExchangeFailed(
                f"logging in at the proxy: {answer.status} {quoted(answer)}; it is starting, has nothing"
                " behind it, allows no more sessions, or configQRS.virtualProxy is not one for this login",
                sent=False,
            )
        _keep(self._cookies, answer.cookies)
        return self._made()

    def _made(self) -> Login:
        """Return what calls bring along now; without a cookie there is no session, so credentials."""
        both = self._both or not self._cookies
        headers = self._credentials() if both else {}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return Login(headers, both)

    def _credentials(self) -> dict[str, str]:
        # With `authentication: header` they are among the headers of every call.
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _read_token(self) -> str:
        path = self._settings.jwt_file
        if self._settings.authentication != "jwt" or path is None:
            return ""
        try:
            return jwt_file.read(path)
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}"
        except ValueError as error:
            what = str(error)
        raise LoginRefused(f"configQRS.jwtFile: {path} {what}")

    def _is_new_token(self) -> bool:
        """Return whether the file has another token than the session, one that can be used."""
        state = self._file_state()
        if not state or state == self._file:
            return False
        self._file = state
        try:
            return self._read_token() != self._token
        except ExchangeFailed as error:
            log.warning(
                "%s; the session at the proxy goes on without it, and ends some time",
                error,
                extra={"action": "qrs_token_unusable"},
            )
            return False

    def _file_changed(self) -> bool:
        state = self._file_state()
        return bool(state) and state != self._file

    def _file_state(self) -> tuple[int, ...]:
        """Return what changes with the token file; empty where there is none to look at."""
        path = self._settings.jwt_file
        if self._settings.authentication != "jwt" or path is None:
            return ()
        try:
            found = os.stat(path)  # noqa: PTH116 -- with each call, and three times as fast
        except OSError:
            return ()  # the session may well go on
        return (found.st_ino, found.st_size, found.st_mtime_ns)


class ProxyTransport:
    """Calls through the proxy in the shared session; for one thread."""

    def __init__(self, transport: Transport, session: ProxySession) -> None:
        self._transport = transport
        self._session = session

    def exchange(self, method: str, path: str, query: str = "", *, xrfkey: str | None = None) -> HttpAnswer:
        """
        Make one call; once more in a new session where the proxy does not let it through.

        Raises:
            ExchangeFailed: No whole answer, or the proxy lets us in no more: then nothing was sent.
        """
        session, transport = self._session, self._transport
        login = session.login(transport)
        answer = transport.exchange(method, path, query, login.headers, xrfkey=xrfkey)
        if wants_login(answer):
            login = session.renewed(login, transport)
            answer = transport.exchange(method, path, query, login.headers, xrfkey=xrfkey)
            if wants_login(answer):
                raise LoginRefused(session.refusal(answer))
        session.note_answer(login, answer)
        return answer

    def close(self) -> None:
        """Close the connection; the session stays."""
        self._transport.close()


def wants_login(answer: HttpAnswer) -> bool:
    """Return whether the proxy did not let a call through: it has no session for it."""
    return answer.status == 401 or answer.status in _REDIRECTS


def _keep(cookies: dict[str, str], lines: tuple[str, ...]) -> bool:
    """
    Take the values of `Set-Cookie` *lines* over; return whether one is new.

    By hand: `http.cookies` drops a whole cookie for an attribute that it does not know.
    """
    before = dict(cookies)
    for line in lines:
        pair, *attributes = line.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            continue
        if any(_is_over(one) for one in attributes):
            cookies.pop(name, None)
        else:
            cookies[name] = value
    return cookies != before


def _is_over(attribute: str) -> bool:
    """Return whether an attribute of a cookie says that it is deleted."""
    name, _, value = (part.strip() for part in attribute.partition("="))
    if name.lower() == "max-age":
        return value.startswith("-") or value == "0"
    if name.lower() != "expires":
        return False
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
    return moment.replace(tzinfo=moment.tzinfo or UTC) <= datetime.now(UTC)
