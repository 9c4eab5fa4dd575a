"""What is wrong at present, so that its end can be reported, after a restart too."""

from __future__ import annotations

from typing import NamedTuple

from butler_mqtt.journal import alert_rows, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class Condition(NamedTuple):
    """Since when something is wrong (milliseconds since 1970), and how often it was seen to be."""

    row: int
    since: int
    times: int


class Conditions:
    """The conditions by their subject: the id of a task, `qrs`, `broker` and so on."""

    def __init__(self, turn: UnitOfWork) -> None:
        self._turn = turn
        self._known: dict[str, Condition] = {}

    def load(self, transaction: Transaction) -> None:
        """Read what is in the journal."""
        self._known = {
            row["subject"]: Condition(row["id"], row["since"], row["count"])
            for row in alert_rows.conditions(transaction)
        }

    def __contains__(self, subject: str) -> bool:
        return subject in self._known

    def worse(self, subject: str, since: int) -> Condition:
        """Record that something is wrong, or wrong once more."""
        before = self._known.get(subject)
        if before is not None:
            after = before._replace(times=before.times + 1)
            self._turn.unit.update(tables.alert_conditions, after.row, count=after.times)
        else:
            after = Condition(self._turn.new_id(tables.alert_conditions), since, 1)
            self._turn.unit.insert(
                tables.alert_conditions,
                {"id": after.row, "subject": subject, "since": since, "count": 1},
            )
        self._known[subject] = after
        return after

    def well(self, subject: str) -> Condition | None:
        """Record that something is well; return what was wrong, None when nothing was."""
        before = self._known.pop(subject, None)
        if before is not None:
            self._turn.unit.delete(tables.alert_conditions, before.row)
        return before
