"""Probes the Qlik server while nobody else calls it: an outage shows before a request comes."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Protocol

from butler_mqtt.errors import QlikError

#: Seconds without an answer after which the server is probed.
QUIET_SECONDS = 60.0


class Server(Protocol):
    """What is known of the server from its answers."""

    @property
    def reached_at(self) -> float | None:
        """When it answered last (monotonic seconds)."""

    @property
    def unreachable_since(self) -> float | None:
        """When it stopped answering (monotonic seconds)."""


class Asking(Protocol):
    """The side of the Qlik server that answers without doing anything."""

    def about(self) -> dict[str, object]:
        """Read the server's version; raises QlikUnavailable or QlikRefused."""


def work(server: Server, asking: Asking, stop: threading.Event, quiet_seconds: float = QUIET_SECONDS) -> None:
    """Probe at once and then whenever the server has not answered for long, until *stop*."""
    while not stop.is_set():
        reached = server.reached_at
        if reached is None or server.unreachable_since is not None or _past(reached) >= quiet_seconds:
            with contextlib.suppress(QlikError):  # `server` has recorded and logged it
                asking.about()
        stop.wait(quiet_seconds / 4)


def _past(moment: float) -> float:
    return time.monotonic() - moment
