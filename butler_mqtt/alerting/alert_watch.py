"""Reads now and then what alerts are about and nobody tells of: tasks of others, certificates."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.overdue import selector
from butler_mqtt.domain.completions import AlertFactsRead
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.http.certificate_expiry import files_of, remaining
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.settings import Settings

_log = logging.getLogger("butler_mqtt.alerting")


class TaskFinder(Protocol):
    """The side of the Qlik server that finds tasks."""

    def find(self, selectors: Sequence[Selector]) -> Mapping[Selector, tuple[Task, ...] | QlikRefused]:
        """Find the tasks of many selectors with one query; raises QlikError."""


class AlertWatch:
    """
    A thread that asks seldom, and all at once.

    Args:
        settings: The whole configuration.
        emit: Submits what was read to the pipeline.
        server_time: The Qlik server's clock as last read.
        stop: Ends `work`.
        timings: How often.
    """

    def __init__(
        self,
        settings: Settings,
        emit: Callable[[AlertFactsRead], None],
        server_time: Callable[[], datetime | None],
        stop: threading.Event,
        timings: AlertTimings,
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._server_time = server_time
        self._stop = stop
        self._timings = timings
        self._lines = RepeatedLines()
        self._certificates_at = 0.0
        self._tasks_at = 0.0

    def reconfigured(self, settings: Settings) -> None:
        """Use other settings from the next reading on, which is soon."""
        self._settings, self._tasks_at = settings, 0.0

    def work(self, qlik: TaskFinder) -> None:
        """Read until `stop`."""
        while not self._stop.is_set():
            self.read(qlik)
            self._stop.wait(min(1.0, self._timings.least_overdue_poll))

    def read(self, qlik: TaskFinder) -> None:
        """Read what is due."""
        settings, now = self._settings, time.monotonic()
        if not settings.alerts.enable:
            return
        if now >= self._certificates_at:
            self._certificates_at = now + self._timings.certificates
            self._emit(AlertFactsRead(certificates=remaining(files_of(settings))))
        if settings.alerts.overdue and now >= self._tasks_at:
            shortest = min(one.every_seconds for one in settings.alerts.overdue) / 4
            timings = self._timings
            self._tasks_at = now + max(timings.least_overdue_poll, min(timings.most_overdue_poll, shortest))
            self._find(qlik, list(dict.fromkeys(selector(one) for one in settings.alerts.overdue)))

    def _find(self, qlik: TaskFinder, selectors: Sequence[Selector]) -> None:
        try:
            found = qlik.find(selectors)
        except QlikError as error:
            # Of an outage there are alerts of its own.
            text = "tasks of alerts.overdue cannot be read: %s"
            _log.debug(text, error, extra={"action": "overdue_unread"})
            return
        shown: dict[Selector, tuple[Task, ...]] = {}
        for one, tasks in found.items():
            if isinstance(tasks, QlikRefused):
                _log.log(
                    self._lines.level(str(tasks)),
                    "a selector of alerts.overdue is refused by the Qlik server: %s",
                    tasks,
                    extra={"action": "overdue_unread"},
                )
            else:
                shown[one] = tasks
        self._emit(AlertFactsRead(tasks=shown, server_time=self._server_time()))
