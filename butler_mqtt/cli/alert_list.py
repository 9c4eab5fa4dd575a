"""`butler-mqtt alerts`: what waits for its target, and what was set aside."""

from __future__ import annotations

from butler_mqtt.cli import printing
from butler_mqtt.cli.requests_list import local
from butler_mqtt.cli.result_table import Cell, ResultTable
from butler_mqtt.cli.terminal import echo
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.alert import decode
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal import alert_rows
from butler_mqtt.journal.search import Search
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.settings import Settings

_HEADINGS = ("since", "target", "alert", "state", "attempts")


def listing(settings: Settings, *, as_json: bool, long: bool) -> ExitCode:
    """Print them, oldest first; JOURNAL where the file cannot be read."""
    path = Journal(settings.journal.url).path
    try:
        with Search(path):  # says what a file is that is no journal of this version
            rows = alert_rows.in_file(path)
    except JournalError as error:
        printing.print_error(str(error))
        return ExitCode.JOURNAL
    if as_json:
        for row in rows:
            printing.print_json(_record(row))
        return ExitCode.OK
    if not rows:
        echo("no alert waits, and none was set aside")
        return ExitCode.OK
    table = ResultTable(_HEADINGS, right=frozenset({"attempts"}))
    for row in rows:
        since = local(row["created_at"])
        table.add(
            Cell(since, short=since[5:19]),
            Cell(row["target"]),
            Cell(decode(row["content"]).title),
            Cell(_state(row), "red" if row["quarantined_at"] is not None else ""),
            Cell(str(row["attempts"])),
        )
    table.show(long=long)
    return ExitCode.OK


def _state(row: alert_rows.AlertRow) -> str:
    if row["quarantined_at"] is not None:
        return f"set aside: {row['reason']}"
    return f"not taken yet: {row['reason']}" if row["reason"] else "waits"


def _record(row: alert_rows.AlertRow) -> dict[str, object]:
    alert = decode(row["content"])
    return {
        "target": row["target"],
        "kind": alert.kind,
        "title": alert.title,
        "count": alert.count,
        "createdAt": stamp_ms(row["created_at"]),
        "dueAt": stamp_ms(row["due_at"]),
        "attempts": row["attempts"],
        "reason": row["reason"],
        "setAsideAt": stamp_ms(row["quarantined_at"]),
    }
