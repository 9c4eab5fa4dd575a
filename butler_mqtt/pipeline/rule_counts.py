"""What became of the messages of each rule, counted in the journal and for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from butler_mqtt.clock import now_ms
from butler_mqtt.journal import rule_rows
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: What may become of a message; `started`: a request was made of it, or of the messages it came with.
OUTCOMES = ("started", "unmatched", "coalesced", "failed", "error")
#: Characters of the last problem of a rule that are kept.
_MAX_PROBLEM = 500


@dataclass(slots=True)
class _Counts:
    row: int | None = None
    numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    matched_at: int | None = None
    problem: str | None = None


class RuleCounts:
    """
    Counts within a turn.

    Args:
        turn: Gathers the rows, and knows the metrics.
        records: Writes the counts.
    """

    def __init__(self, turn: UnitOfWork, records: RuleRecords) -> None:
        self._turn = turn
        self._records = records
        self._of_rules: dict[str, _Counts] = {}
        self._changed: set[str] = set()

    def load(self, transaction: Transaction) -> None:
        """Read what was counted so far."""
        self._changed.clear()
        self._of_rules = {
            row["rule"]: _Counts(
                row["id"], {name: row[name] for name in OUTCOMES}, row["matched_at"], row["problem"]
            )
            for row in rule_rows.counts(transaction)
        }

    def count(self, rule: str, outcome: str, problem: str | None = None) -> None:
        """Count one message, with what was wrong with it; `write` records it."""
        counts = self._of_rules.setdefault(rule, _Counts())
        counts.numbers[outcome] += 1
        if outcome in {"started", "coalesced"}:
            counts.matched_at = now_ms()
        if problem is not None:
            # It is shown beside the name of the rule.
            counts.problem = problem.removeprefix(f"rule {rule}: ")[:_MAX_PROBLEM]
        self._changed.add(rule)
        self._turn.count(self._turn.counting.rule_message, rule, outcome)

    def write(self) -> None:
        """Record what was counted in this turn."""
        for rule in sorted(self._changed):
            counts = self._of_rules[rule]
            counts.row = self._records.counted(
                counts.row,
                rule,
                **counts.numbers,
                last_at=now_ms(),
                matched_at=counts.matched_at,
                problem=counts.problem,
            )
        self._changed.clear()
