"""What the loop does to the journal besides recording: bounds, retention, commands of operators."""

from __future__ import annotations

from butler_mqtt.journal.pruning import CALM_STEP_SECONDS, STEP_SECONDS, Pruning
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.retention import Retention
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.pipeline.operator_commands import OperatorCommands


class JournalMaintenance:
    """
    Deletes what is old or too much, a little with each turn.

    Args:
        refusals: Bounds what is kept of refusals.
        retention: Deletes what is older than configured.
        pruning: Deletes what an operator has named.
        commands: Of operators.
    """

    def __init__(
        self, refusals: Refusals, retention: Retention, pruning: Pruning, commands: OperatorCommands
    ) -> None:
        self._refusals = refusals
        #: Deletes what is older than configured.
        self.retention = retention
        self._pruning = pruning
        self._commands = commands

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
