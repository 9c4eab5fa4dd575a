"""Rules for the page: where their messages come from, and what became of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from butler_mqtt.http.page.page_backend import RuleLine
from butler_mqtt.journal import rule_rows
from butler_mqtt.journal.sqlite import reading
from butler_mqtt.settings import RuleSettings

_COUNTS = ("started", "coalesced", "unmatched", "failed", "error")


def read(journal: Path, rules: Sequence[RuleSettings]) -> list[RuleLine]:
    """Read what became of the messages of *rules*, in their order; raises JournalError."""
    with reading(journal) as connection:
        counts = {row["rule"]: row for row in rule_rows.counts(connection)}
        windows = rule_rows.open_windows(connection)
    lines = []
    for rule in rules:
        row = counts.get(rule.name)
        sources = [*rule.topics, *([f"POST /v4/rules/{rule.name}"] if rule.webhook is not None else ())]
        lines.append(
            RuleLine(
                rule.name,
                rule.enable,
                sources,
                rule.when or "",
                {name: row[name] if row else 0 for name in _COUNTS},
                windows.get(rule.name, 0),
                row["matched_at"] if row else None,
                (row["problem"] if row else None) or "",
            )
        )
    return lines
