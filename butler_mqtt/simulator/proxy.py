"""
A Qlik proxy in front of the QRS: two virtual proxies, their logins, their sessions.

`/butler/qrs/…` takes a JWT, `/header/qrs/…` the header `hdr-usr`. Whoever has
logged in gets a session with a cookie; a call without either is refused or
sent to a login page. The tokens are signed with HMAC, not RSA as the real
proxy wants them, since they are both made and verified here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from butler_mqtt.simulator.asgi import Asgi, Message, Receive, Scope, Send
from butler_mqtt.simulator.call import Answer
from butler_mqtt.simulator.site import Site

#: The prefixes of the virtual proxies.
JWT, HEADER = "butler", "header"
#: The header from which the second one takes the user.
USER_HEADER = b"hdr-usr"
USER = r"INTERNAL\sa_repository"
#: Seconds for which the token is valid that is made at the start.
TOKEN_SECONDS = 365 * 86400.0

_LOGIN_PATH = "/internal_forms_authentication/"
_PATH = re.compile(rf"/({JWT}|{HEADER})(/qrs(?:/.*)?)", re.IGNORECASE)
_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Qlik Sense login</title></head></html>"
_TOO_MANY = b"<!DOCTYPE html><html><head><title>No access: too many parallel sessions</title></head></html>"
_HTML = b"text/html; charset=utf-8"


@dataclass
class ProxyCounts:
    """What came in so far: sessions that were opened, by user, calls refused, calls with credentials."""

    opened: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    with_credentials: int = 0


@dataclass
class _Session:
    """One session: at which virtual proxy, whose, and when it was used last (monotonic seconds)."""

    prefix: str
    user: str
    used: float = field(default=0.0)


class QlikProxy:
    """The ASGI application in front of *behind*, that of the QRS."""

    def __init__(self, site: Site, behind: Asgi) -> None:
        self._site = site
        self._behind = behind
        self._key = secrets.token_bytes(32)
        self._sessions: dict[str, _Session] = {}
        self.counts = ProxyCounts()

    def token(self, user: str = USER, seconds: float = TOKEN_SECONDS) -> str:
        r"""Make a token for *user* (`DIRECTORY\user`) that expires in so many *seconds*, less than 0: has."""
        directory, _, name = user.partition("\\")
        expires = int(self._site.clock.now() + seconds)
        return self.signed({"userId": name, "userDirectory": directory, "exp": expires})

    def signed(self, claims: dict[str, Any]) -> str:
        """Make a token with these claims."""
        parts = [_encoded(json.dumps(one).encode()) for one in ({"alg": "HS256", "typ": "JWT"}, claims)]
        return f"{'.'.join(parts)}.{_encoded(self._signature('.'.join(parts)))}"

    def as_json(self) -> dict[str, Any]:
        """Return sessions and counts as the admin endpoint shows them."""
        self._forget_idle()
        return {
            "sessions": [{"prefix": one.prefix, "user": one.user} for one in self._sessions.values()],
            "opened": self.counts.opened.total(),
            "openedBy": dict(self.counts.opened),
            "refused": self.counts.refused,
            "withCredentials": self.counts.with_credentials,
        }

    def end_sessions(self) -> int:
        """End all sessions, as a restart of the proxy does; return how many there were."""
        count = len(self._sessions)
        self._sessions.clear()
        return count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        found = _PATH.fullmatch(scope["path"])
        if found is None:
            at_login = scope["path"].lower().startswith(_LOGIN_PATH)
            await _send(send, Answer(200, _LOGIN_PAGE, _HTML) if at_login else _redirect())
            return
        prefix, headers = found[1].lower(), dict(scope["headers"])
        user, cookie = self._user(prefix, headers), ""
        self.counts.with_credentials += user is not None
        session = self._session(prefix, headers)
        if session is None or (self._site.switches.proxy_credentials == "always" and user is None):
            if user is None:
                await self._refuse(send)
                return
            if not self._has_room(user):
                self.counts.refused += 1
                await _send(send, Answer(403, _TOO_MANY, _HTML))
                return
            session, cookie = self._opened(prefix, user)
        session.used = self._site.clock.monotonic()
        await self._behind(_passed(scope, found[2], session.user), receive, _with_cookie(send, cookie))

    async def _refuse(self, send: Send) -> None:
        self.counts.refused += 1
        sent_away = self._site.switches.proxy_refusal == "redirect"
        await _send(send, _redirect() if sent_away else Answer.text(401, "Unauthorized"))

    def _session(self, prefix: str, headers: dict[bytes, bytes]) -> _Session | None:
        self._forget_idle()
        cookies = headers.get(b"cookie", b"").decode("latin-1").split(";")
        for name, _, value in (cookie.strip().partition("=") for cookie in cookies):
            session = self._sessions.get(value)
            if name == _cookie_name(prefix) and session is not None and session.prefix == prefix:
                return session
        return None

    def _forget_idle(self) -> None:
        over = self._site.clock.monotonic() - self._site.switches.proxy_session_seconds
        self._sessions = {key: one for key, one in self._sessions.items() if one.used > over}

    def _has_room(self, user: str) -> bool:
        most = self._site.switches.proxy_sessions
        return most is None or sum(one.user == user for one in self._sessions.values()) < most

    def _opened(self, prefix: str, user: str) -> tuple[_Session, str]:
        """Open a session; return it with the line that sets its cookie."""
        key = secrets.token_hex(16)
        session = self._sessions[key] = _Session(prefix, user)
        self.counts.opened[user] += 1
        return session, f"{_cookie_name(prefix)}={key}; Path=/; HttpOnly; Secure; Partitioned"

    def _user(self, prefix: str, headers: dict[bytes, bytes]) -> str | None:
        """Return whom the credentials of a call name; None where they are missing or refused."""
        if prefix == HEADER:
            user = headers.get(USER_HEADER, b"").decode("latin-1")
            return user if re.fullmatch(r"[^\\]+\\[^\\]+", user) else None
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return self._named(token) if scheme == "Bearer" else None

    def _named(self, token: str) -> str | None:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, _encoded(self._signature(signed))):
            return None
        claims = json.loads(_decoded(signed.partition(".")[2]))
        if claims.get("exp", 0) <= self._site.clock.now() or not {"userId", "userDirectory"} <= claims.keys():
            return None
        return f"{claims['userDirectory']}\\{claims['userId']}"

    def _signature(self, signed: str) -> bytes:
        return hmac.digest(self._key, signed.encode("latin-1"), hashlib.sha256)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cookie_name(prefix: str) -> str:
    return f"X-Qlik-Session-{prefix}"


def _passed(scope: Scope, path: str, user: str) -> Scope:
    """Return a call as the QRS gets it: without the prefix, with the user of its session."""
    directory, _, name = user.partition("\\")
    named = f"UserDirectory={directory}; UserId={name}".encode("latin-1")
    kept = [(key, value) for key, value in scope["headers"] if key != b"x-qlik-user"]
    return {**scope, "path": path, "headers": [*kept, (b"x-qlik-user", named)]}


def _with_cookie(send: Send, cookie: str) -> Send:
    if not cookie:
        return send

    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
        await send(message)

    return with_cookie


def _redirect() -> Answer:
    return Answer(302, b"", None, [(b"location", f"{_LOGIN_PATH}?targetId=1".encode())])


async def _send(send: Send, answer: Answer) -> None:
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    if answer.content_type is not None:
        headers.append((b"content-type", answer.content_type))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
