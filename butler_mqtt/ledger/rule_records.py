"""What rules leave in the journal: filters, packets that may come again, windows, counts."""

from __future__ import annotations

from butler_mqtt.clock import now_ms
from butler_mqtt.journal import tables
from butler_mqtt.journal.write_batch import Value
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class RuleRecords:
    """
    Writes the rows.

    Args:
        turn: Gathers them.
    """

    def __init__(self, turn: UnitOfWork) -> None:
        self._turn = turn

    # ---- filters

    def filter_added(self, topic_filter: str) -> int:
        """Record a filter that is to be subscribed to, and return its row."""
        identity = self._turn.new_id(tables.rule_filters)
        self._turn.unit.insert(tables.rule_filters, {"id": identity, "filter": topic_filter})
        return identity

    def filter_unwanted(self, row: int) -> None:
        """Record that no rule has a filter any more."""
        self._turn.unit.update(tables.rule_filters, row, unwanted_at=now_ms())

    def filter_gone(self, row: int) -> None:
        """Record that the session with the broker has a filter no more."""
        self._turn.unit.update(tables.rule_filters, row, gone_at=now_ms())

    # ---- packets

    def packet_added(self, packet_id: int, digest: bytes) -> int:
        """Record a message that rules judged, and return its row."""
        identity = self._turn.new_id(tables.rule_packets)
        self._turn.unit.insert(
            tables.rule_packets, {"id": identity, "packet_id": packet_id, "digest": digest}
        )
        return identity

    def packet_forgotten(self, row: int) -> None:
        """Record that a message need not be compared any more."""
        self._turn.unit.delete(tables.rule_packets, row)

    # ---- windows

    def window_began(self, **values: Value) -> int:
        """Record a window with its first message, and return its row."""
        identity = self._turn.new_id(tables.rule_windows)
        self._turn.unit.insert(tables.rule_windows, {"id": identity, **values})
        return identity

    def window_grew(self, row: int, **values: Value) -> None:
        """Record one more message of a window."""
        self._turn.unit.update(tables.rule_windows, row, **values)

    def window_ended(self, row: int) -> None:
        """Record that a window has become a request, or was refused."""
        self._turn.unit.delete(tables.rule_windows, row)

    # ---- counts

    def counted(self, row: int | None, rule: str, **values: Value) -> int:
        """Record the counts of a rule; return their row, a new one without *row*."""
        if row is None:
            row = self._turn.new_id(tables.rule_counts)
            self._turn.unit.insert(tables.rule_counts, {"id": row, "rule": rule, **values})
        else:
            self._turn.unit.update(tables.rule_counts, row, **values)
        return row
