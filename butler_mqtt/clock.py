"""Time as the journal keeps it: whole milliseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Give the present time."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime | None) -> int | None:
    """Turn an aware datetime into milliseconds; None stays None."""
    return None if moment is None else round(moment.timestamp() * 1000)


def from_ms(moment: int | None) -> datetime | None:
    """Turn milliseconds into an aware datetime in UTC; None stays None."""
    return None if moment is None else datetime.fromtimestamp(moment / 1000, UTC)
