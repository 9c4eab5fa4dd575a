"""
Sends alerts, with a thread for each target: one that is slow, or never answers, holds up no other.

A thread has one alert at a time; what waits is in the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Protocol

from butler_mqtt.domain.completions import AlertNotSent, AlertSent
from butler_mqtt.settings import AlertTarget

#: How the names of the threads begin.
THREAD: Final = "alerts "


class TargetRefused(Exception):
    """A target did not take an alert; `final`: it hardly will."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Sending(Protocol):
    """One target."""

    def send(self, title: str, body: str, *, good: bool) -> None:
        """Send a text; raises `TargetRefused`."""


@dataclass(frozen=True, slots=True)
class OutgoingAlert:
    """One alert for one target, by its row, as it is sent; *good*: something is well again."""

    row: int
    title: str
    body: str
    good: bool


def _apprise(url: str) -> Sending:
    from butler_mqtt.alerting.apprise_target import AppriseTarget  # noqa: PLC0415 -- loaded only where used

    return AppriseTarget(url)


class AlertSender:
    """
    The threads.

    Args:
        emit: Submits what became of an alert; called from the threads.
        reach: Makes a target of its URL; raises ValueError.
    """

    def __init__(
        self,
        emit: Callable[[AlertSent | AlertNotSent], None],
        reach: Callable[[str], Sending] = _apprise,
    ) -> None:
        self._emit = emit
        self._reach = reach
        self._queues: dict[AlertTarget, SimpleQueue[OutgoingAlert | None]] = {}

    def send(self, target: AlertTarget, alert: OutgoingAlert) -> None:
        """Have a alert sent; the thread of its target begins with the first."""
        queue = self._queues.get(target)
        if queue is None:
            queue = self._queues[target] = SimpleQueue()
            # Not supervised: one that waits for its target must neither end nor restart the process.
            threading.Thread(
                target=self._work, args=(target, queue), name=f"{THREAD}{target.name}", daemon=True
            ).start()
        queue.put(alert)

    def keep(self, targets: Iterable[AlertTarget]) -> None:
        """Let the threads of all other targets end after the alert in hand."""
        kept = set(targets)
        for target in [one for one in self._queues if one not in kept]:
            self._queues.pop(target).put(None)

    def _work(self, target: AlertTarget, queue: SimpleQueue[OutgoingAlert | None]) -> None:
        reached: Sending | None = None
        while (alert := queue.get()) is not None:
            try:
                if reached is None:
                    reached = self._reach(target.url)
                reached.send(alert.title, alert.body, good=alert.good)
            except TargetRefused as error:
                self._emit(AlertNotSent(target.name, alert.row, str(error), error.final))
            except Exception as error:  # noqa: BLE001 -- else the thread ends and the alert waits for ever
                # Without the error's own text, in which the URL may be.
                self._emit(AlertNotSent(target.name, alert.row, f"a fault: {type(error).__name__}"))
            else:
                self._emit(AlertSent(target.name, alert.row))
