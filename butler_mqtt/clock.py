"""Time as the journal keeps it: whole milliseconds since 1970, UTC, by the one clock of this process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from butler_mqtt.steady_clock import SteadyClock, elapsed_ms

#: The first and the last millisecond of the calendar: years 1 and 9999. Rounding up the end of the last
#: year, which many programs write for "never", would lead beyond it.
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The one clock of this process: every module must get the same time.
STEADY = SteadyClock()


def now_ms() -> int:
    """Return the present time."""
    return STEADY.now_ms()


def to_ms(moment: datetime | None) -> int | None:
    """Turn an aware datetime into milliseconds; None stays None."""
    return None if moment is None else min(round(moment.timestamp() * 1000), LAST_MS)


def from_ms(moment: int | None) -> datetime | None:
    """Turn milliseconds into an aware datetime in UTC, the nearest there is; None stays None."""
    return None if moment is None else _EPOCH + timedelta(milliseconds=min(max(moment, FIRST_MS), LAST_MS))


def local(moment: datetime) -> datetime:
    """Return an aware datetime in the zone of this machine; as it is where that zone's calendar has ended."""
    try:
        return moment.astimezone()
    except (OverflowError, ValueError):
        return moment


# ---- moments that outlive the process, but not a boot of the machine

#: Bits of a moment that hold its milliseconds: 278 years since the machine was started.
_BITS = 43


def boot_number(file: Path = Path("/proc/sys/kernel/random/boot_id")) -> int:
    """Return a number of this boot of the machine, 20 bits; 0 where it has none (not Linux)."""
    try:
        return int(file.read_text("ascii").strip().replace("-", "")[:5], 16) or 1
    except (OSError, ValueError):
        return 0


def moment() -> int:
    """
    Return the present moment for the journal, independent of the machine's clock.

    It counts from the start of the machine (CLOCK_BOOTTIME) and names that start.
    """
    return (boot_number() << _BITS) | elapsed_ms()


def seconds_since(stored: int) -> float:
    """Return the seconds since a `moment`; 0 when it is of another boot, or cannot be known."""
    number = boot_number()
    if not number or stored >> _BITS != number:
        return 0.0
    return max(0, elapsed_ms() - (stored & ((1 << _BITS) - 1))) / 1000
