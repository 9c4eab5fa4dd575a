"""Warns, once a day, of bearer tokens that end soon or have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from butler_mqtt.domain import days_left
from butler_mqtt.settings import RestSettings, Token

EVERY_SECONDS = float(days_left.DAY)

_log = logging.getLogger("butler_mqtt.daemon")


def remaining(tokens: Iterable[Token], now: datetime | None = None) -> dict[str, float]:
    """Return the seconds until each of *tokens* ends that does, by its name; negative for one that has."""
    now = now or datetime.now(UTC)
    return {one.name: (one.expires_at - now).total_seconds() for one in tokens if one.expires_at is not None}


class TokenWatch:
    """
    Looks at the ends of tokens.

    Args:
        rest: With the tokens; none are looked at while the listener is off.
    """

    def __init__(self, rest: RestSettings) -> None:
        self.reconfigured(rest)

    def reconfigured(self, rest: RestSettings) -> None:
        """Look at other tokens, at once."""
        self._tokens = rest.tokens if rest.enable else ()
        self._due = 0.0

    def check(self, now: datetime | None = None) -> None:
        """Log the tokens that end soon, if a day has passed since that was done."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_SECONDS
        for name, seconds in remaining(self._tokens, now).items():
            if seconds <= 0:
                _log.warning(
                    "the token %s has expired and is refused: butler-mqtt token add makes a new one",
                    name,
                    extra={"action": "token_expiring"},
                )
            elif seconds <= days_left.TOKEN * days_left.DAY:
                _log.warning(
                    "the token %s expires %s: butler-mqtt token add makes a new one",
                    name,
                    days_left.within(int(seconds / days_left.DAY)),
                    extra={"action": "token_expiring"},
                )
