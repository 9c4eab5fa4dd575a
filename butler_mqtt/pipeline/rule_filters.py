"""The topic filters of rules: which are wanted, which the broker's session may still have from before."""

from __future__ import annotations

import logging
from collections.abc import Collection

from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.journal import rule_rows
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.printable import counted

_log = logging.getLogger("butler_mqtt.rules")


class RuleFilters:
    """
    Keeps the filters in the journal, since the broker keeps them beyond this process.

    Args:
        records: Writes them.
    """

    def __init__(self, records: RuleRecords) -> None:
        self._records = records
        #: By row, which is the Subscription Identifier.
        self.wanted: dict[int, str] = {}
        self.unwanted: dict[int, str] = {}
        #: What is wrong with those that do not work as they should, and those that do not work at all.
        self.problems: dict[int, str] = {}
        self._refused: set[int] = set()
        #: Those for which the broker has not answered yet.
        self._awaited: set[int] = set()

    def load(self, transaction: Transaction) -> None:
        """Read the filters that the session may have."""
        rows = rule_rows.filters(transaction)
        self.wanted = {row["id"]: row["filter"] for row in rows if row["unwanted_at"] is None}
        self.unwanted = {row["id"]: row["filter"] for row in rows if row["unwanted_at"] is not None}
        self._awaited = set(self.wanted)

    def want(self, filters: Collection[str]) -> None:
        """
        Want these *filters* and no others.

        One that was not wanted for a while gets a row of its own: what the broker still has of the old one
        must not be taken for it.
        """
        for row, topic_filter in list(self.wanted.items()):
            if topic_filter not in filters:
                del self.wanted[row]
                self.problems.pop(row, None)
                self._refused.discard(row)
                self._awaited.discard(row)
                self.unwanted[row] = topic_filter
                self._records.filter_unwanted(row)
        known = set(self.wanted.values())
        for topic_filter in filters:
            if topic_filter not in known:
                row = self._records.filter_added(topic_filter)
                self.wanted[row] = topic_filter
                self._awaited.add(row)

    def answered(self, event: RuleFilterAnswered, rules: Collection[str]) -> None:
        """
        Apply what the broker says of a filter.

        Args:
            event: The answer.
            rules: The names of the rules that have it, for the log.
        """
        row = event.row
        if row in self.unwanted:
            if not event.subscribed and event.problem is None:
                del self.unwanted[row]
                self._records.filter_gone(row)
            return
        if row not in self.wanted:
            return
        (self._refused.discard if event.subscribed else self._refused.add)(row)
        topic_filter = self.wanted[row]
        names = ", ".join(sorted(rules)) or "a rule"
        if event.problem is not None and event.problem != self.problems.get(row):
            _log.warning(
                "rules: %s: %s: messages on %s %s; other requests are not affected",
                names,
                event.problem,
                topic_filter,
                "may be lost" if event.subscribed else "do not arrive",
                extra={"action": "rule_not_subscribed"},
            )
        elif event.problem is None:
            _log.info(
                "rules: %s: subscribed to %s",
                names,
                topic_filter,
                extra={"action": "rule_subscribed"},
            )
        if event.problem is None:
            self.problems.pop(row, None)
        else:
            self.problems[row] = event.problem
        if self._awaited:
            self._awaited.discard(row)
            if not self._awaited:
                self._log_complete()

    def working(self, row: int) -> bool:
        """Return whether messages arrive for a filter, as far as is known."""
        return row in self.wanted and row not in self._refused

    def _log_complete(self) -> None:
        """Log that messages for all rules arrive from now on, as far as the broker grants that."""
        count = len(self.wanted) - len(self._refused)
        _log.info(
            "rules: %s subscribed to, of %s",
            counted(count, "topic filter is", "topic filters are"),
            len(self.wanted),
            extra={"action": "rules_subscribed"},
        )
