"""The state of the daemon for the page: what it does, what it talks to, what it keeps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from butler_mqtt import __version__
from butler_mqtt.domain import days_left
from butler_mqtt.http.exposition import Levels
from butler_mqtt.http.page.page_backend import HealthFact
from butler_mqtt.pipeline.disk_guard import LITTLE_DISK_BYTES
from butler_mqtt.printable import counted


def facts(
    levels: Levels, journal: Path, subscription: str | None, alert_faults: Mapping[str, str]
) -> list[HealthFact]:
    """
    Return what an operator wants to know, the most important first.

    Args:
        levels: As the metrics show them.
        journal: Its file; its size and its disk are read.
        subscription: The state of the MQTT door, None without MQTT.
        alert_faults: The targets that do not take alerts, each with the reason.
    """
    states, numbers = levels.states, levels.numbers
    return [
        _daemon(states, numbers),
        *_broker(states, subscription),
        _qrs(states, numbers),
        _journal(states, journal),
        _disk(states, journal),
        _backlog(numbers),
        _messages(levels.outbox),
        *(
            HealthFact(
                f"Alerts to {target}", "not taken", "bad", reason, f"Try it: butler-mqtt alerts test {target}"
            )
            for target, reason in sorted(alert_faults.items())
        ),
        *_held(numbers),
        *(_certificate(name, seconds) for name, seconds in sorted(levels.certificates.items())),
    ]


def _daemon(states: Mapping[str, bool | None], numbers: Mapping[str, float | None]) -> HealthFact:
    details = f"butler-mqtt {__version__}"
    if states["healthy"]:
        return HealthFact("Daemon", "working", "good", details)
    age = numbers.get("last_turn_age_seconds") or 0.0
    return HealthFact(
        "Daemon",
        "not healthy",
        "bad",
        f"{details}; last turn of its loop {age:.0f} s ago",
        "See its log: journalctl -u butler-mqtt",
    )


def _broker(states: Mapping[str, bool | None], subscription: str | None) -> list[HealthFact]:
    if subscription is None:
        return [HealthFact("MQTT broker", "not used", "good", "mqttConfig.enable is false")]
    if subscription == "ready" and states["broker_connected"]:
        return [HealthFact("MQTT broker", "connected", "good", "requests are taken, replies are sent")]
    shown = subscription.replace("_", " ")
    return [
        HealthFact(
            "MQTT broker",
            shown if subscription != "ready" else "replies cannot be sent",
            "bad",
            "requests wait at the broker until it is reached again",
            "butler-mqtt check says what the broker answers",
        )
    ]


def _qrs(states: Mapping[str, bool | None], numbers: Mapping[str, float | None]) -> HealthFact:
    age = numbers.get("qrs_last_answer_age_seconds")
    last = "no answer yet" if age is None else f"last answer {age:.0f} s ago"
    if states["qrs_reachable"]:
        return HealthFact("Qlik server (QRS)", "reached", "good", last)
    return HealthFact(
        "Qlik server (QRS)",
        "out of reach",
        "bad",
        f"{last}; requests wait for it until their deadline",
        "butler-mqtt check says what it answers",
    )


def _journal(states: Mapping[str, bool | None], journal: Path) -> HealthFact:
    try:
        size = journal.stat().st_size
    except OSError as error:
        return HealthFact("Journal", "cannot be read", "bad", f"{journal}: {error.strerror}")
    details = f"{journal}, {_bytes(size)}"
    if states["journal_writable"]:
        return HealthFact("Journal", "written", "good", details)
    return HealthFact("Journal", "cannot be written", "bad", details, "Nothing is accepted until it can be")


def _disk(states: Mapping[str, bool | None], journal: Path) -> HealthFact:
    try:
        usage = shutil.disk_usage(journal.parent)
    except OSError as error:
        return HealthFact("Disk", "cannot be read", "bad", str(error.strerror))
    details = f"{_bytes(usage.free)} of {_bytes(usage.total)} free"
    if not states["accepting_requests"]:
        return HealthFact("Disk", "no room for new requests", "bad", details, "Free some space")
    if usage.free < LITTLE_DISK_BYTES:
        return HealthFact("Disk", "nearly full", "busy", details, "Free some space soon")
    return HealthFact("Disk", "has room", "good", details)


def _backlog(numbers: Mapping[str, float | None]) -> HealthFact:
    opened = round(numbers.get("open_requests") or 0)
    executing = round(numbers.get("executions_followed") or 0)
    details = f"{counted(executing, 'execution')} followed"
    if not opened:
        return HealthFact("Requests", "none open", "good", details)
    age = numbers.get("oldest_open_request_age_seconds") or 0.0
    return HealthFact(
        "Requests", f"{opened} open", "good" if age < 60 else "busy", f"the oldest for {age:.0f} s; {details}"
    )


def _messages(outbox: Mapping[str, int]) -> HealthFact:
    waiting, dead = outbox.get("waiting", 0), outbox.get("quarantined", 0)
    details = f"{counted(waiting, 'message')} on the way to the broker"
    if not dead:
        return HealthFact("Replies and events", "delivered", "good", details)
    return HealthFact(
        "Replies and events",
        counted(dead, "dead letter"),
        "bad",
        f"the broker refuses them; {details}",
        "The request shows why; an operator discards them there, butler-mqtt requests resend sends them",
    )


def _held(numbers: Mapping[str, float | None]) -> list[HealthFact]:
    held = round(numbers.get("held_requests") or 0)
    if not held:
        return []
    return [
        HealthFact(
            "After a restore",
            f"{counted(held, 'request')} held",
            "bad",
            "nothing of them goes on since a backup was restored",
            "butler-mqtt requests resume",
        )
    ]


def _certificate(name: str, seconds: float) -> HealthFact:
    days = seconds / days_left.DAY
    ends = time.strftime("%Y-%m-%d", time.localtime(time.time() + seconds))
    if seconds <= 0:
        return HealthFact(f"Certificate {name}", "expired", "bad", f"on {ends}", "Replace the file")
    tone = "good" if days > days_left.CERTIFICATE else "busy" if days > days_left.URGENT else "bad"
    advice = "" if tone == "good" else "Replace the file"
    return HealthFact(
        f"Certificate {name}", f"expires {days_left.within(int(days))}", tone, f"until {ends}", advice
    )


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "bytes" else f"{count:.1f} {unit}"
