"""An alert book on a real journal, turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from butler_mqtt.alerting.alert_book import AlertBook
from butler_mqtt.alerting.alert_sender import AlertSender, OutgoingAlert
from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.domain.alert import Alert
from butler_mqtt.domain.completions import AlertNotSent, AlertSent
from butler_mqtt.journal import alert_rows
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import AlertTarget
from tests.journals import put_empty

EACH = AlertTarget("bi", "json://h", min_interval_seconds=0.0)
GROUPED = AlertTarget("bi", "json://h", min_interval_seconds=300.0)


class Desk(AlertSender):
    """Keeps what is handed over, instead of sending it."""

    def __init__(self) -> None:
        super().__init__(lambda _event: None)
        self.given: list[OutgoingAlert] = []

    def send(self, _target: AlertTarget, alert: OutgoingAlert) -> None:
        self.given.append(alert)


class Turning:
    """An alert book, turned by hand, with a clock of the test in seconds."""

    def __init__(self, folder: Path, target: AlertTarget) -> None:
        self.now = 0.0
        self.target = target
        put_empty(folder / "journal.sqlite")
        self.journal = Journal(f"sqlite:///{folder / 'journal.sqlite'}")
        self.journal.open()
        self.crash()

    def crash(self) -> None:
        """Begin anew with what is on disk."""
        self.desk, self.turn = Desk(), UnitOfWork()
        self.book = AlertBook(
            self.turn, self.desk, AlertTimings(), lambda: self.now, lambda: round(1000 * self.now)
        )
        with self.journal.transaction() as transaction:
            self.turn.number_from(highest_ids(transaction))
        self.do(lambda transaction: self.book.load(transaction, [self.target]))

    def do(self, call: Callable[[Transaction], None]) -> None:
        """Make one turn of a call, and of what waits for its commit."""
        self.turn.begin()
        with self.journal.transaction() as transaction:
            call(transaction)
            self.turn.unit.write(transaction)
        for effect in self.turn.effects:
            effect()

    def fail(self, subject: str = "a") -> None:
        alert = Alert("executionFailed", subject, f"task {subject} failed", round(1000 * self.now))
        self.do(lambda _: self.book.add(alert, lambda _target: True))

    def recover(self, subject: str = "a") -> None:
        alert = Alert("recovered", subject, f"task {subject} recovered", round(1000 * self.now))
        self.do(lambda _: self.book.add(alert, lambda _target: True))

    def titles(self, seconds: float) -> list[str]:
        """Let the target take whatever it is given for so long, and return what that was."""
        found = []
        for _ in range(round(seconds) // 5):
            self.wait(5)
            while self.desk.given:
                found.append(self.take().title.removeprefix("butler-mqtt: task "))
        return found

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(lambda _: self.book.step())

    def take(self) -> OutgoingAlert:
        """Let the target take what it was given."""
        alert = self.desk.given.pop()
        self.do(lambda _: self.book.sent(AlertSent("bi", alert.row)))
        return alert

    def refuse(self, *, final: bool = False) -> OutgoingAlert:
        alert = self.desk.given.pop()
        self.do(lambda _: self.book.not_sent(AlertNotSent("bi", alert.row, "no", final)))
        return alert

    def rows(self) -> list[alert_rows.AlertRow]:
        with self.journal.transaction() as transaction:
            return list(alert_rows.listed(transaction))
