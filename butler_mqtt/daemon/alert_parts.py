"""Joins alerts to the parts of the daemon: what is seen of the neighbours, and the thread that reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.neighbour_alerts import Neighbours
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import Settings

if TYPE_CHECKING:
    from butler_mqtt.alerting.alert_watch import AlertWatch


class AlertParts:
    """
    What alerts need of the daemon.

    Args:
        pipeline: Writes them.
        qrs: Shows whether the Qlik server is reached.
        broker_obstacle: Says why no requests arrive, None while they can or without MQTT.
        stop: Ends the thread.
        spawn: Runs a function in a thread of that name with a connection to Qlik of its own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        qrs: RepositoryClient,
        broker_obstacle: Callable[[], str | None],
        stop: threading.Event,
        spawn: Callable[[str, Callable[[RepositoryConnection], None]], None],
    ) -> None:
        self._pipeline = pipeline
        self._qrs = qrs
        self._stop = stop
        self._spawn = spawn
        self._watch: AlertWatch | None = None
        pipeline.alerts.join(
            Neighbours(
                qrs_unreachable_since=lambda: qrs.unreachable_since,
                qrs_reachable=lambda: qrs.reachable,
                qrs_fault=lambda: f"{qrs.place}: {qrs.fault}",
                broker_obstacle=broker_obstacle,
            )
        )

    def use(self, settings: Settings) -> None:
        """Have read what alerts are about, by a thread that is there once they are on."""
        if self._watch is not None:
            self._watch.reconfigured(settings)
        elif settings.alerts.enable:
            # Loaded here only: it reads certificates, with a library of its own.
            from butler_mqtt.alerting.alert_watch import AlertWatch  # noqa: PLC0415 -- as above

            self._watch = AlertWatch(
                settings, self._pipeline.emit, self._qrs.server_time, self._stop, AlertTimings()
            )
            self._spawn("alert watch", self._watch.work)
