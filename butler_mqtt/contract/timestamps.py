"""Times as replies, events and the audit log have them, RFC 3339 in UTC with milliseconds; and of filters."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from butler_mqtt.clock import from_ms, now_ms

#: What a text is not that a filter of a list does not take as a time, after "neither".
FILTER_TIMES = "a duration (90s, 30m, 2h, 7d, 2w) nor a time (2026-03-01T06:00:00+01:00)"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def stamp(moment: datetime | None) -> str | None:
    """Write an aware datetime, as `2031-01-31T08:00:00.000Z`; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp_ms(milliseconds: int | None) -> str | None:
    """Write a time of the journal (milliseconds since 1970) likewise; None stays None."""
    return stamp(from_ms(milliseconds))


def filter_time(text: str) -> int:
    """
    Read a duration before now, or a time (without an offset it is local), as milliseconds since 1970.

    Raises:
        ValueError: It is neither of `FILTER_TIMES`.
    """
    ago = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if ago is not None:
        return now_ms() - int(ago[1]) * _UNITS[ago[2]] * 1000
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except OverflowError as error:
        raise ValueError(text) from error
