"""What the loop does to the journal besides recording: bounds, retention, commands of operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from butler_mqtt import clock
from butler_mqtt.journal.pruning import CALM_STEP_SECONDS, STEP_SECONDS, Pruning
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.retention import Retention, Unread
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.operator_commands import OperatorCommands


class JournalMaintenance:
    """
    Deletes what is old or too much, a little with each turn.

    Args:
        rows: The changes of a turn.
        refusals: Bounds what is kept of refusals.
        unread: Returns the deliveries that redeliveries are compared with: they are kept.
        journal: The journal's file, beside which operators put their commands.
        retention_days: How long a closed request is kept.
        timings: How fast it is pruned, and how often commands are looked for.
    """

    def __init__(
        self,
        rows: UnitOfWork,
        refusals: Refusals,
        unread: Callable[[], Unread | None],
        journal: Path,
        retention_days: float,
        timings: LoopTimings,
    ) -> None:
        self._refusals = refusals
        #: Deletes what is older than configured.
        self.retention = Retention(
            retention_days, now=clock.STEADY.pruning_ms, unread=unread, pace=timings.pruning
        )
        #: Deletes what an operator has named.
        self._pruning = Pruning()
        self._commands = OperatorCommands(rows, journal, self._pruning, timings.command_seconds)

    def load(self, transaction: Transaction) -> None:
        """Read which refusals are kept, and go on from what is on disk."""
        self._refusals.load(transaction)
        self.retention.load()
        self._pruning.load()

    def step(self, transaction: Transaction, *, hurried: bool) -> None:
        """Do what belongs to every turn; *hurried*: requests arrive, so less of it."""
        self._refusals.step(transaction)
        self._pruning.step(transaction, seconds=STEP_SECONDS if hurried else CALM_STEP_SECONDS)

    def commit(self) -> None:
        """Record that what was done in this turn is on disk."""
        self._pruning.commit()

    def tidy(self, transaction: Transaction) -> None:
        """Do what is due now and then."""
        self.retention.step(transaction)
        self._commands.step(transaction)

    def requests_resumed(self) -> bool:
        """Return, once, whether an operator has released held requests: the journal is to be read again."""
        resumed, self._commands.resumed = self._commands.resumed, False
        return resumed
