"""
The text of an alert: plain, bounded, and without anything that a chat would act upon.

Names and reasons come from outside, so they are written without control
characters and so that no chat takes them for a mention, a link or a command.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from butler_mqtt.clock import from_ms, now_ms
from butler_mqtt.domain.alert import Alert
from butler_mqtt.printable import duration

#: Characters of a title, of one value, of one line of a script log, and of a whole text.
MAX_TITLE: Final = 200
MAX_VALUE: Final = 1000
MAX_LOG_LINE: Final = 300
MAX_TEXT: Final = 6000

#: Every `@` but that of an address such as `erp@example.com`: Apprise and some chats find mentions within
#: words too, as in `x@everyone` and `x@4711`.
_MENTION: Final = re.compile(
    r"(?<![\w.+-])@|@(?!(?!everyone|here|channel|all)[a-z][\w-]*(?:\.[\w-]+)+)", re.IGNORECASE
)
#: `<!channel>`, `<#C…>`, `<https://…|text>` and tags of HTML as Teams has them for mentions.
_MARK: Final = re.compile("<(?=[!@\uff20#/A-Za-z])")


def neutral(text: str, limit: int = MAX_VALUE) -> str:
    """Return *text* from outside as one line of at most *limit* characters that mentions nobody."""
    cut = text[: limit + 1]
    line = cut if cut.isprintable() else "".join(one if one.isprintable() else " " for one in cut)
    line = _MARK.sub("\u2039", _MENTION.sub("\uff20", line))  # they look alike and mean nothing
    return line if len(line) <= limit else line[: limit - 1] + "…"


def title(alert: Alert) -> str:
    """Return the title, for the subject of a mail."""
    text = neutral(f"butler-mqtt: {alert.title}", MAX_TITLE)
    return text if alert.count == 1 else f"{text} ({alert.count} times)"


def body(alert: Alert) -> str:
    """Return the text below the title: one line for each thing that is known."""
    lines = [f"{name}: {neutral(value)}" for name, value in _known(alert) if value]
    log = [f"  {neutral(line, MAX_LOG_LINE)}" for line in alert.script_log]
    room = MAX_TEXT - sum(len(line) + 1 for line in lines)
    while log and sum(len(line) + 1 for line in log) > room - 20:
        del log[0]  # the end says why
    if log:
        lines += ["Script log, last lines:", *log]
    return "\n".join(lines)


def example() -> Alert:
    """Return the alert that tests a target."""
    reason = "butler-mqtt alerts test was run; nothing is wrong"
    return Alert("test", "test", "test alert", now_ms(), reason=reason)


def _known(alert: Alert) -> list[tuple[str, str]]:
    asked = [f"{one} ({by})" if by else one for one, by in alert.requests]
    if alert.more_requests:
        asked.append(f"and {alert.more_requests} more")
    again = _ordinal(alert.in_a_row)
    return [
        ("Task", f"{alert.task} ({alert.subject})" if alert.task else ""),
        ("App", alert.app),
        ("Node", alert.node),
        ("When", _moment(alert.at)),
        ("How long", "" if alert.seconds is None else duration(alert.seconds)),
        ("Reason", alert.reason),
        ("Requested by", ", ".join(asked)),
        (
            "In a row",
            f"{again} failure since {_moment(alert.since)}" if again and alert.since is not None else "",
        ),
        ("Since", "" if alert.since is None or alert.in_a_row else _moment(alert.since)),
        ("Count", f"{alert.count} times since the last alert about it" if alert.count > 1 else ""),
    ]


def _ordinal(number: int) -> str:
    if number < 1:
        return ""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in {11, 12, 13} else "th"
    return f"{number}{ending}"


def _moment(milliseconds: int | None) -> str:
    moment = from_ms(milliseconds) or datetime.fromtimestamp(0, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
