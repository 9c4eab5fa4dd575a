"""Times and durations as people read them, and texts of others without what no page should show."""

from __future__ import annotations

import re
import time
from datetime import datetime

from markupsafe import Markup

from butler_mqtt import clock, printable
from butler_mqtt.clock import from_ms, now_ms

#: Stands where there is no value.
NOTHING = "-"


def local(value: int | str) -> datetime:
    """Return milliseconds since 1970, or a time in RFC 3339, as a time of this machine's zone."""
    if isinstance(value, str):
        return clock.local(datetime.fromisoformat(value))
    moment = from_ms(value)
    assert moment is not None  # noqa: S101 -- narrows the type
    return clock.local(moment)


def moment(value: int | str) -> str:
    """Write a time: today and yesterday by name, this year without it."""
    then, now = local(value), local(now_ms())
    days = (now.date() - then.date()).days
    time_of_day = then.strftime("%H:%M:%S")
    if days in {0, 1}:
        return f"{'Today' if days == 0 else 'Yesterday'} {time_of_day}"
    day = f"{then.day} {then.strftime('%b')}" + ("" if then.year == now.year else f" {then.year}")
    return f"{day} {time_of_day}"


def when(value: int | str | None) -> Markup | str:
    """Write a time as an element that has it whole too."""
    if value is None:
        return NOTHING
    then = local(value)
    return Markup('<time datetime="{iso}" title="{whole}">{text}</time>').format(
        iso=then.isoformat(timespec="milliseconds"),
        whole=then.strftime("%Y-%m-%d %H:%M:%S %z"),
        text=moment(value),
    )


def since(value: int) -> Markup:
    """Write how long ago a time is, as an element that a script counts on."""
    return Markup('<span class="number" data-since="{value}">{text}</span>').format(
        value=value, text=duration(max(0, now_ms() - value))
    )


def duration(milliseconds: float | None) -> str:
    """Write a duration as `printable.duration` does, or that there is none."""
    if milliseconds is None:
        return NOTHING
    return printable.duration(milliseconds / 1000)


def words(state: str) -> str:
    """Write a state as words: `not started` for `notStarted`; other texts stay as they are."""
    return re.sub(r"(?<=[a-z])[A-Z](?=[a-z])", lambda found: f" {found[0].lower()}", state).replace(
        "qlik", "Qlik"
    )


def zone() -> str:
    """Return the time zone of this machine, as `CET, UTC+01:00`."""
    offset = local(now_ms()).strftime("%z")
    name = time.strftime("%Z")
    return name if name == "UTC" else f"{name}, UTC{offset[:3]}:{offset[3:5]}"
