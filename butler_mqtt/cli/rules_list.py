"""What `butler-mqtt rules` prints: each rule, where its messages come from, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from butler_mqtt.cli import printing
from butler_mqtt.cli.result_table import Cell, ResultTable
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal import rule_rows
from butler_mqtt.journal.read_only import ReadOnlyJournal
from butler_mqtt.settings import RuleSettings, Settings

#: What may become of a message, as the journal counts it.
_COUNTS = ("started", "coalesced", "unmatched", "failed", "error")
_HEADINGS = ("rule", "messages from", *_COUNTS, "last match (UTC)")


def listing(settings: Settings, journal: Path, *, as_json: bool, long: bool) -> ExitCode:
    """
    Print the rules of the configuration with the counts of *journal*, which need not be there yet.

    Returns:
        FAILED when the journal cannot be read.
    """
    try:
        counts, windows = _read(journal) if journal.exists() else ({}, {})
    except JournalError as error:
        return printing.failed(str(error))
    if as_json:
        for rule in settings.rules:
            printing.print_json(_record(rule, counts.get(rule.name), windows.get(rule.name, 0)))
        return ExitCode.OK
    if not settings.rules:
        printing.print_line("the configuration has no rules; docs/rules.md tells how to write one")
        return ExitCode.OK
    table = ResultTable(
        _HEADINGS, wide_only=frozenset({"coalesced", "last match (UTC)"}), right=frozenset(_COUNTS)
    )
    for rule in settings.rules:
        row = counts.get(rule.name)
        numbers = [Cell(str(row[name]) if row else "-") for name in _COUNTS]
        matched = (row and stamp_ms(row["matched_at"])) or ""
        first, *others = _sources(rule)
        table.add(Cell(rule.name), Cell(first), *numbers, Cell(matched[:16].replace("T", " ")))
        for source in others:
            table.add(Cell(""), Cell(source), *[Cell("")] * len(numbers), Cell(""))
    table.show(long=long)
    for rule in settings.rules:
        row = counts.get(rule.name)
        if rule.name in windows:
            printing.print_line(f"{rule.name}: {windows[rule.name]} windows of messages are open")
        if row and row["problem"]:
            printing.print_line(f"{rule.name}: last problem: {row['problem']}")
    return ExitCode.OK


def _read(journal: Path) -> tuple[dict[str, Mapping[str, Any]], dict[str, int]]:
    with ReadOnlyJournal(journal) as opened, opened.reading() as connection:
        counts = {str(row["rule"]): row for row in rule_rows.counts(connection)}
        return counts, rule_rows.open_windows(connection)


def _sources(rule: RuleSettings) -> list[str]:
    sources = list(rule.topics)
    if rule.webhook is not None:
        sources.append(f"POST /v4/rules/{rule.name}")
    return sources if rule.enable else [f"off: {sources[0]}", *sources[1:]]


def _record(rule: RuleSettings, row: Mapping[str, Any] | None, windows: int) -> dict[str, object]:
    webhook = None
    if rule.webhook is not None:
        webhook = "token" if rule.webhook.secret is None else "signed"
    return {
        "rule": rule.name,
        "enable": rule.enable,
        "topics": list(rule.topics),
        "webhook": webhook,
        "payload": rule.payload,
        "when": rule.when,
        "counts": {name: row[name] for name in _COUNTS} if row else None,
        "openWindows": windows,
        "lastMatchAt": stamp_ms(row["matched_at"]) if row else None,
        "lastProblem": row["problem"] if row else None,
    }
