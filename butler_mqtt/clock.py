"""Time as the journal keeps it: whole milliseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

#: The first and the last millisecond of the calendar: years 1 and 9999. Rounding up the end of the last
#: year, which many programs write for "never", would lead beyond it.
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """Give the present time."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime | None) -> int | None:
    """Turn an aware datetime into milliseconds; None stays None."""
    return None if moment is None else min(round(moment.timestamp() * 1000), LAST_MS)


def from_ms(moment: int | None) -> datetime | None:
    """Turn milliseconds into an aware datetime in UTC, the nearest there is; None stays None."""
    return None if moment is None else _EPOCH + timedelta(milliseconds=min(max(moment, FIRST_MS), LAST_MS))
