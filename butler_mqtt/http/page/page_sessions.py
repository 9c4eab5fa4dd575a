"""
Who is signed in: random sessions, each begun with a token and ended with it.

They are kept in a file beside the journal, so that a restart of the daemon signs nobody out. The
file holds SHA-256 digests of the sessions, with which nobody gets in.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.http.guard import has_expired, known_token
from butler_mqtt.settings import Token

#: The longest session, in milliseconds.
LONGEST_MS = 8 * 3_600_000
#: Sessions that are kept; the oldest ends when there would be more.
MOST = 1000
#: Roles that may sign in.
ROLES = frozenset({"reader", "operator"})

_BYTES = 32

_log = logging.getLogger("butler_mqtt.http")


@dataclass(frozen=True, slots=True)
class PageSession:
    """
    Somebody who is signed in: the token's name, its role now, and what forms have to bring along.

    `parts` are the names of the parts of the page that there are.
    """

    name: str
    role: str
    csrf: str
    parts: Sequence[str]

    @property
    def operates(self) -> bool:
        """Whether it may start, cancel and discard."""
        return self.role == "operator"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of a session: the token by name and mark, and its end in milliseconds since 1970."""

    name: str
    mark: str
    ends_at: int


class PageSessions:
    """
    The sessions; for one thread.

    Args:
        file: Where they outlive a restart.
        tokens: Those of the configuration.
        parts: The parts of the page that there are.
        now: The present time in milliseconds since 1970.
    """

    def __init__(
        self,
        file: Path,
        tokens: Sequence[Token],
        parts: Sequence[str] = (),
        *,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._file = file
        self._parts = parts
        self._tokens = tokens
        self._now = now
        self._kept = self._read()

    def reconfigured(self, tokens: Sequence[Token]) -> None:
        """Use other tokens: sessions of those that are gone, or are others under the same name, end."""
        self._tokens = tokens

    def begin(self, token: str) -> str | None:
        """Begin a session with a token; return its secret for the cookie, None when nobody may sign in."""
        now = self._now()
        found = known_token(token, [one for one in self._tokens if self._may_sign_in(one, now)])
        if found is None:
            return None
        ends_at = min(now + LONGEST_MS, to_ms(found.expires_at) or now + LONGEST_MS)
        secret = secrets.token_urlsafe(_BYTES)
        self._kept[_digest(secret)] = _Kept(found.name, _mark(found), ends_at)
        self._kept = dict([(key, one) for key, one in self._kept.items() if one.ends_at > now][-MOST:])
        self._write()
        return secret

    def of(self, secret: str | None) -> PageSession | None:
        """Return the session with that secret, None when there is none or it is over."""
        kept = self._kept.get(_digest(secret)) if secret else None
        if kept is None or secret is None or kept.ends_at <= self._now():
            return None
        for token in self._tokens:
            if token.name == kept.name and hmac.compare_digest(_mark(token), kept.mark):
                if not self._may_sign_in(token, self._now()):
                    return None
                return PageSession(token.name, token.role, _digest(f"csrf {secret}"), self._parts)
        return None

    def among(self, secrets: Sequence[str]) -> tuple[str | None, PageSession | None]:
        """Return the first of *secrets* that has a session, and this; None and None when none has."""
        for secret in secrets:
            session = self.of(secret)
            if session is not None:
                return secret, session
        return None, None

    def end(self, secret: str | None) -> None:
        """End a session."""
        if secret and self._kept.pop(_digest(secret), None) is not None:
            self._write()

    def _may_sign_in(self, token: Token, now: int) -> bool:
        return token.role in ROLES and not has_expired(token, now)

    def _read(self) -> dict[str, _Kept]:
        try:
            read = json.loads(self._file.read_text("utf-8"))
            return {key: _Kept(str(one[0]), str(one[1]), int(one[2])) for key, one in read.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            _log.warning(
                "%s cannot be read, everybody has to sign in to the page again: %s",
                self._file,
                error,
                extra={"action": "page_sessions_failed"},
            )
            return {}

    def _write(self) -> None:
        text = json.dumps({key: [one.name, one.mark, one.ends_at] for key, one in self._kept.items()})
        try:
            # Made with mode 600, and put in place whole.
            with tempfile.NamedTemporaryFile(
                "w", dir=self._file.parent, prefix=f"{self._file.name}.", delete=False
            ) as draft:
                draft.write(text)
            Path(draft.name).replace(self._file)
        except OSError as error:
            _log.warning(
                "%s cannot be written, sign-ins to the page end with the daemon: %s",
                self._file,
                error.strerror,
                extra={"action": "page_sessions_failed"},
            )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _mark(token: Token) -> str:
    """Return what tells a token from another of the same name, and nothing of the token."""
    return _digest(f"token {token.sha256}")
