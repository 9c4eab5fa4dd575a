"""Alerts as one part of the pipeline."""

from __future__ import annotations

from collections.abc import Callable

from butler_mqtt.alerting.alert_book import AlertBook
from butler_mqtt.alerting.alert_sender import AlertSender
from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.conditions import Conditions
from butler_mqtt.alerting.neighbour_alerts import NeighbourAlerts, Neighbours
from butler_mqtt.alerting.overdue import OverdueTasks
from butler_mqtt.alerting.task_alerts import TaskAlerts
from butler_mqtt.alerting.task_facts import TaskFacts
from butler_mqtt.domain.completions import AlertFactsRead, AlertNotSent, AlertSent
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.alert_hooks import NoAlerts
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import AlertSettings


class Alerts:
    """
    What is worth an alert, and its way to the targets; while they are off it does nothing.

    Args:
        settings: Section `alerts`.
        turn: The unit of work, which knows where the ledger reports to.
        emit: Submits what became of an alert, from any thread.
        timings: Pauses.
    """

    def __init__(
        self,
        settings: AlertSettings,
        turn: UnitOfWork,
        emit: Callable[[AlertSent | AlertNotSent], None],
        timings: AlertTimings,
    ) -> None:
        self._turn = turn
        self._sender = AlertSender(emit)
        self._book = AlertBook(turn, self._sender, timings)
        self._conditions = Conditions(turn)
        self._facts = TaskFacts(turn)
        self._tasks = TaskAlerts(self._book, self._conditions, self._facts)
        self._overdue = OverdueTasks(turn, self._tasks)
        self._tasks.on_success = self._overdue.succeeded
        self._neighbours = NeighbourAlerts(self._book, self._conditions, timings)
        self._settings = settings
        self._turn.alerting = self._tasks if settings.enable else NoAlerts()

    def join(self, neighbours: Neighbours) -> None:
        """Alert what these show of themselves, from now on."""
        self._neighbours.neighbours = neighbours

    def reconfigured(self, settings: AlertSettings, transaction: Transaction) -> None:
        """Use other targets and entries from now on."""
        before, self._settings = self._settings, settings
        if settings == before:
            return
        if not settings.enable:
            self._turn.alerting = NoAlerts()
            self._book.pause()
            self._overdue.pause()
        elif before.enable:
            # Not from the journal: what this turn has recorded is not there yet.
            self._book.configure(settings.targets)
            self._overdue.configure(settings.overdue)
        else:
            self._turn.alerting = self._tasks
            self.load(transaction)

    def load(self, transaction: Transaction) -> None:
        """Replace what is in memory by what is in the journal; of this turn nothing may be recorded yet."""
        if not self._settings.enable:
            return
        self._book.load(transaction, self._settings.targets)
        self._conditions.load(transaction)
        self._facts.load(transaction)
        self._overdue.load(transaction, self._settings.overdue)

    def faults(self) -> dict[str, str]:
        """Return why targets do not take alerts at present, by name; for any thread."""
        return self._book.faults()

    def step(self, *, disk_has_room: bool) -> None:
        """Send what is due, and see what is wrong or well again."""
        if self._settings.enable:
            self._neighbours.step(disk_has_room=disk_has_room)
            self._book.step()

    def apply(self, event: AlertSent | AlertNotSent | AlertFactsRead) -> None:
        """Record what became of an alert, or judge what was read."""
        match event:
            case AlertSent():
                self._book.sent(event)
            case AlertNotSent():
                self._book.not_sent(event)
            case AlertFactsRead(tasks, server_time, certificates):
                if self._settings.enable:
                    self._overdue.read(tasks, server_time)
                    self._neighbours.certificates(certificates)

    def dropped(self, event: AlertSent | AlertNotSent) -> None:
        """Forget an event that a fault kept from being applied."""
        self._book.dropped(event)

    def stop(self) -> None:
        """Let the threads end after the alert in hand."""
        self._sender.keep(())
