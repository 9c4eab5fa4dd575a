"""What a daemon says about itself on `statusTopic`."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime


def new_instance() -> str:
    """Make a name for this process that no other process has, 32 hex digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Status:
    """One retained message on `statusTopic`; `status` is `online` or `offline`."""

    status: str
    instance: str
    started_at: datetime
    version: str

    def payload(self) -> bytes:
        """Give the JSON object as it is published."""
        # Microseconds, since the start times of two daemons decide which one is the newcomer.
        started = self.started_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return json.dumps(
            {"status": self.status, "instance": self.instance, "startedAt": started, "version": self.version}
        ).encode()


def parse(payload: bytes) -> Status | None:
    """Read a status message; None for anything that is not one."""
    try:
        value = json.loads(payload)
        started = datetime.fromisoformat(value["startedAt"])
        if started.tzinfo is None:
            return None
        # In UTC at once: an offset can lead beyond the calendar.
        started = started.astimezone(UTC)
        return Status(str(value["status"]), str(value["instance"]), started, str(value.get("version", "")))
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
        return None
