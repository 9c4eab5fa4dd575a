"""What the service manager is notified of: ready, the watchdog, and one line of status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from butler_mqtt.daemon.broker_watch import BrokerWatch
from butler_mqtt.daemon.supervisor import Supervisor
from butler_mqtt.daemon.systemd import Notify
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.printable import counted


class Reachability(Protocol):
    """What is known of the Qlik server."""

    @property
    def place(self) -> str:
        """Its host and port."""

    @property
    def unreachable_since(self) -> float | None:
        """When it stopped answering (monotonic seconds), None while it answers."""


class ServiceStatus:
    """
    Keeps the service manager informed.

    Args:
        notify: The connection to it.
        supervisor: Knows which threads are stuck.
        pipeline: Knows what is open, and why requests are not accepted.
        broker: Knows why no requests arrive; None without MQTT.
        qlik: Knows whether the server answers.
        extend_seconds: Asked for at a time until the daemon is ready.
    """

    def __init__(
        self,
        notify: Notify,
        supervisor: Supervisor,
        pipeline: Pipeline,
        broker: BrokerWatch | None,
        qlik: Reachability,
        extend_seconds: float,
    ) -> None:
        self._notify = notify
        self._supervisor = supervisor
        self._pipeline = pipeline
        self._broker = broker
        self._qlik = qlik
        self._extend_seconds = extend_seconds
        self._fed = 0.0
        #: Whether the service manager knows that the daemon is ready.
        self.announced = False

    def feed_watchdog(self) -> None:
        """Feed the watchdog as long as every thread makes progress."""
        seconds = self._notify.watchdog_seconds
        if seconds is None or self._supervisor.stuck:
            return
        if time.monotonic() - self._fed >= seconds / 4:
            self._fed = time.monotonic()
            self._notify.alive()

    def report(self) -> None:
        """Notify what the daemon does, and that it is ready once it is."""
        if not self.announced:
            if self._broker is None or self._broker.obstacle is None:
                self.announced = True
                self._notify.ready()
            else:
                self._notify.extend(self._extend_seconds)
        self._notify.status(self.line())

    def line(self) -> str:
        """Return in one line what the daemon does now, what it waits for first."""
        return compose(
            self._supervisor.stuck,
            self._pipeline.obstacle,
            None if self._broker is None else self._broker.obstacle,
            self._pipeline.open_requests,
            self._qlik.place,
            self._qlik.unreachable_since,
            self._pipeline.held_requests,
        )


def compose(
    stuck: Sequence[str],
    obstacle: str | None,
    broker: str | None,
    open_requests: int,
    qlik: str,
    unreachable_since: float | None,
    held: int = 0,
) -> str:
    """
    Compose the line, what is waited for first.

    Args:
        stuck: Threads that make no progress.
        obstacle: Why requests are not accepted.
        broker: What keeps requests from arriving.
        open_requests: Requests that are not finished.
        qlik: Host and port of the Qlik server.
        unreachable_since: When it stopped answering, monotonic seconds; None while it answers.
        held: Requests held since a backup was restored.
    """
    parts = [f"hung: {', '.join(stuck)}"] if stuck else []
    parts += [part for part in (obstacle, broker) if part is not None]
    parts = [*(parts or ["ready"]), counted(open_requests, "open request")]
    if held:
        parts.append(f"{held} held until butler-mqtt requests resume")
    if unreachable_since is not None:
        moment = time.localtime(time.time() - time.monotonic() + unreachable_since)
        parts.append(f"Qlik server {qlik} unreachable since {time.strftime('%Y-%m-%d %H:%M:%S', moment)}")
    return ", ".join(parts)
