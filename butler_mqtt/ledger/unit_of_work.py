"""The unit of work of one turn: rows to write, and what may be done once they are on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from butler_mqtt.domain.model import Publication
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.journal.write_batch import Table, WriteBatch
from butler_mqtt.ledger.alert_hooks import AlertHooks, NoAlerts


class Counting(Protocol):
    """What is counted for the metrics; never raises."""

    def received(self, door: str) -> None:
        """Count a delivery recorded."""

    def answered(self, door: str, code: str, seconds: float) -> None:
        """Count a delivery answered, with the code or status of its reply, *seconds* after it came."""

    def start(self, outcome: str) -> None:
        """Count a start that has its outcome."""

    def ended(self, result: str) -> None:
        """Count an execution that was tracked to its end."""

    def posted(self, seconds: float) -> None:
        """Count a POST that is submitted, *seconds* after its oldest request came."""

    def asked(self, sender: str | None, outcome: str) -> None:
        """Count a request of a sender: accepted, repeated, or why it was refused as it came."""

    def denied(self, sender: str | None) -> None:
        """Count a task that a request of a sender may not start."""

    def rule_message(self, rule: str, outcome: str) -> None:
        """Count what a rule made of a message."""

    def stale_rule_message(self) -> None:
        """Count a message for a filter that no rule has any more."""

    def alert(self, target: str, outcome: str) -> None:
        """Count an alert that a target took or did not take."""


class NotCounting:
    """Counts nothing."""

    def received(self, door: str) -> None:
        """Do nothing."""

    def answered(self, door: str, code: str, seconds: float) -> None:
        """Do nothing."""

    def start(self, outcome: str) -> None:
        """Do nothing."""

    def ended(self, result: str) -> None:
        """Do nothing."""

    def posted(self, seconds: float) -> None:
        """Do nothing."""

    def asked(self, sender: str | None, outcome: str) -> None:
        """Do nothing."""

    def denied(self, sender: str | None) -> None:
        """Do nothing."""

    def rule_message(self, rule: str, outcome: str) -> None:
        """Do nothing."""

    def stale_rule_message(self) -> None:
        """Do nothing."""

    def alert(self, target: str, outcome: str) -> None:
        """Do nothing."""


class UnitOfWork:
    """
    The changes of one turn.

    `unit` holds the rows, `publications` the messages and `effects` the calls
    that must wait for the commit, those of `urgent` first. Metrics are counted
    after it too, so that a turn that is repeated counts once.
    """

    def __init__(self, counting: Counting | None = None) -> None:
        self.counting = counting or NotCounting()
        self._counts = counting is not None
        #: Gets what may be worth an alert.
        self.alerting: AlertHooks = NoAlerts()
        self._last: dict[str, int] = {}
        #: That of the turn, for what is read or written at once.
        self.transaction: Transaction
        self.begin()

    def begin(self) -> None:
        """Forget what the last turn gathered."""
        self.unit = WriteBatch()
        self.publications: list[Publication] = []
        self.effects: list[Callable[[], None]] = []
        self.urgent: list[Callable[[], None]] = []

    def after(self, call: Callable[..., None], *arguments: object) -> None:
        """Have *call* done once the rows are on disk."""
        self.effects.append(partial(call, *arguments))

    def count(self, count: Callable[..., None], *arguments: object) -> None:
        """Have *count*, one of `counting`, done once the rows are on disk, where anything is counted."""
        if self._counts:
            self.after(count, *arguments)

    def at_once_after(self, call: Callable[..., None], *arguments: object) -> None:
        """Have *call* done once the rows are on disk, before all that is not urgent."""
        self.urgent.append(partial(call, *arguments))

    def number_from(self, highest: Mapping[str, int]) -> None:
        """
        Begin the ids of new rows above those in *highest*, by table name.

        An id that was used is not used again: the broker may confirm a message
        whose row is gone.
        """
        for name, last in highest.items():
            self._last[name] = max(last, self._last.get(name, 0))

    def last_id(self, table: Table) -> int:
        """Return the id given out last; 0 when there is none."""
        return self._last.get(table.name, 0)

    def new_id(self, table: Table) -> int:
        """Return the id of a new row."""
        self._last[table.name] = identity = self._last[table.name] + 1
        return identity
