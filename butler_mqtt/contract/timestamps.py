"""Times as replies, events and the audit log have them: RFC 3339 in UTC with milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from butler_mqtt.clock import from_ms


def stamp(moment: datetime | None) -> str | None:
    """Write an aware datetime, as `2031-01-31T08:00:00.000Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp_ms(milliseconds: int | None) -> str | None:
    """Write a time of the journal (milliseconds since 1970) likewise; None stays None."""
    return stamp(from_ms(milliseconds))
