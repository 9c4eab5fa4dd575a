"""Checks when the bearer tokens of the REST door end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.domain import days_left
from butler_mqtt.settings import RestSettings

_NAME = "rest.tokens"
_RENEW = "butler-mqtt token add makes a new one; put its line in place of the old one and reload the daemon"


def check(rest: RestSettings, now: datetime | None = None) -> Iterator[Finding]:
    """Check the tokens that end, while the listener is on; nothing where none does."""
    now = now or datetime.now(UTC)
    ending = [one for one in rest.tokens if one.expires_at is not None] if rest.enable else []
    good = []
    for token in ending:
        days = ((token.expires_at or now) - now).total_seconds() / days_left.DAY
        if days <= 0:
            yield wrong(_NAME, f"the token {token.name} has expired and is refused", _RENEW)
        elif days <= days_left.TOKEN:
            yield warning(_NAME, f"the token {token.name} expires {days_left.within(int(days))}", _RENEW)
        else:
            good.append(f"{token.name} in {days:.0f} days")
    if good:
        yield ok(_NAME, f"tokens expire: {', '.join(good)}")
