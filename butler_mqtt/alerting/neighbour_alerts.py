"""Alerts about what the daemon works with: Qlik server, broker, disk, certificates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from butler_mqtt.alerting.alert_book import AlertBook
from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.conditions import Conditions
from butler_mqtt.clock import now_ms
from butler_mqtt.domain.alert import Alert
from butler_mqtt.printable import duration

#: Subjects of conditions; a certificate's is followed by its key in the configuration.
_QRS: Final = "qrs"
_BROKER: Final = "broker"
_DISK: Final = "disk"
_CERTIFICATE: Final = "certificate "


@dataclass(frozen=True, slots=True)
class Neighbours:
    """
    What the daemon's parts show of their neighbours; called by the pipeline.

    `qrs_unreachable_since` is the monotonic time since when the Qlik server does
    not answer, None while it does or was never asked, `qrs_reachable` whether it
    answered last, `qrs_fault` why it does not. `broker_obstacle` says why no
    requests arrive, None while they can or without MQTT.
    """

    qrs_unreachable_since: Callable[[], float | None] = lambda: None
    qrs_reachable: Callable[[], bool] = lambda: False
    qrs_fault: Callable[[], str] = lambda: ""
    broker_obstacle: Callable[[], str | None] = lambda: None


class NeighbourAlerts:
    """
    Alerts once that something is wrong, and once that it is well again.

    Args:
        book: Where alerts go.
        conditions: What is wrong, also since before a restart.
        timings: How long a neighbour may be out of reach.
        monotonic: The clock.
        now: The present time in milliseconds since 1970.
    """

    def __init__(
        self,
        book: AlertBook,
        conditions: Conditions,
        timings: AlertTimings,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._book = book
        self._conditions = conditions
        self._timings = timings
        self._monotonic = monotonic
        self._now = now
        self._broker_since: float | None = None
        #: What the daemon joins; nothing is alerted before.
        self.neighbours: Neighbours | None = None

    def step(self, *, disk_has_room: bool) -> None:
        """Compare what is with what was alerted."""
        self._disk(has_room=disk_has_room)
        if self.neighbours is not None:
            self._qrs(self.neighbours)
            self._broker(self.neighbours)

    def certificates(self, remaining: Mapping[str, float]) -> None:
        """Note for how many seconds each certificate is valid, by its key in the configuration."""
        for key, seconds in remaining.items():
            subject = f"{_CERTIFICATE}{key}"
            if seconds >= self._timings.certificate_left:
                self._well(subject, f"the certificate {key} is renewed")
            elif subject not in self._conditions:
                when = f"expires in {duration(seconds)}" if seconds > 0 else "has expired"
                reason = "renew the file; the daemon reads it at each new connection"
                self._wrong("certificateExpiring", subject, f"the certificate {key} {when}", reason, 0.0)

    # ---- helpers

    def _qrs(self, neighbours: Neighbours) -> None:
        since = neighbours.qrs_unreachable_since()
        if since is not None:
            gone = self._monotonic() - since
            if gone >= self._timings.unreachable:
                title = "the Qlik server is not reached"
                self._wrong("qrsUnreachable", _QRS, title, neighbours.qrs_fault(), gone)
        elif neighbours.qrs_reachable():
            self._well(_QRS, "the Qlik server is reached again")

    def _broker(self, neighbours: Neighbours) -> None:
        obstacle = neighbours.broker_obstacle()
        if obstacle is None:
            self._broker_since = None
            self._well(_BROKER, "requests arrive from the broker again")
            return
        now = self._monotonic()
        if self._broker_since is None:
            self._broker_since = now
        gone = now - self._broker_since
        if gone >= self._timings.unreachable:
            self._wrong("brokerUnreachable", _BROKER, "no requests arrive from the broker", obstacle, gone)

    def _disk(self, *, has_room: bool) -> None:
        if has_room:
            self._well(_DISK, "the disk of the journal has room again")
        else:
            reason = "nothing is acknowledged until there is room; the broker keeps what arrives until then"
            self._wrong("diskLow", _DISK, "the disk of the journal is nearly full", reason, 0.0)

    def _wrong(self, kind: str, subject: str, title: str, reason: str, gone: float) -> None:
        """Alert that something is wrong, and has been for so many seconds, unless that was done."""
        if subject in self._conditions:
            return
        now = self._now()
        since = now - round(1000 * gone)
        self._conditions.worse(subject, since)
        alert = Alert(kind, subject, title, now, reason=reason, since=since if gone else None)
        self._book.add(alert, lambda _target: True)

    def _well(self, subject: str, title: str) -> None:
        if subject not in self._conditions:
            return
        was = self._conditions.well(subject)
        now = self._now()
        seconds = None if was is None else (now - was.since) / 1000
        alert = Alert("recovered", subject, title, now, seconds=seconds, since=was and was.since)
        self._book.add(alert, lambda _target: True)
