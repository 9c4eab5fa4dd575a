"""Prints results of commands: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from butler_mqtt.cli.result_table import Cell, ResultTable, cut_id
from butler_mqtt.cli.terminal import echo, echo_json
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import counted, escaped, escaped_lines, wrapped

_STYLES = {
    "started": "green",
    "wouldStart": "green",
    "cancelled": "green",
    "stopped": "green",
    "queued": "yellow",
    "running": "yellow",
    "alreadyRunning": "yellow",
}


def show(answer: Mapping[str, Any], *, as_json: bool, long: bool = False) -> None:
    """Print a reply, or the answer of `resolve`, to standard output; *long*: with ids whole."""
    if as_json:
        print_json(answer)
        return
    request = f"request {answer['requestId']}" if "requestId" in answer else "the request"
    if "error" in answer:
        print_text(f"{request} was refused: {answer['error']} ({answer['code']})", "bold red")
        print_text(answer["details"])
    else:
        started = f", {answer['totalTasksStarted']} started" if "totalTasksStarted" in answer else ""
        if "cancelled" in answer:
            started = f", {len(answer['tasksCancelled'])} tasks of request {answer['cancelled']} cancelled"
        print_text(f"{request}: {answer['status']}{started}", "bold")
        if "tasksRunning" in answer and "tasksStopped" not in answer:
            print_text("what runs goes on; cancel --stop-running stops what that request alone began")
    for stage in answer.get("stages", ()):
        print_text(*stage_line(stage))
    lists = {
        key: entries
        for key, entries in answer.items()
        if key.startswith("tasks") and isinstance(entries, list)
    }
    staged = any("stage" in entry for entries in lists.values() for entry in entries)
    rows = [row for key, entries in lists.items() for row in _rows(key, entries)]
    if rows:
        headings = ("task", "status", "execution, or reason", "task id")
        table = ResultTable(("stage", *headings) if staged else headings)
        for number, row in sorted(rows, key=lambda row: row[0]) if staged else rows:
            table.add(*((Cell(str(number or "")),) if staged else ()), *row)
        table.show(long=long)


def stage_line(stage: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an entry of `stages` in a reply says, on one line, and its style."""
    name = f" {stage['name']}" if stage.get("name") else ""
    tasks = f", {counted(stage['tasks'], 'task')}" if "tasks" in stage else ""
    style = {"succeeded": "green", "running": "yellow", "waiting": ""}.get(stage["status"], "red")
    return f"stage {stage['stage']}{name}: {stage['status']}{tasks}", style


def print_text(text: object, style: str = "") -> None:
    """Print foreign text as one line to standard output, on a terminal broken at words."""
    lines = wrapped(escaped(str(text)), sys.stdout)
    Console(markup=False, highlight=False, soft_wrap=True).print(Text(lines, style))


def print_error(text: str) -> None:
    """Print what went wrong to standard error."""
    echo(wrapped(escaped_lines(text), sys.stderr), err=True)


def failed(text: str) -> ExitCode:
    """Print what went wrong to standard error; return the exit code for it."""
    print_error(text)
    return ExitCode.FAILED


def progress() -> Progress:
    """Return a line on standard error that shows what is waited for; only on a terminal."""
    console = Console(stderr=True, markup=False, highlight=False)
    spinner = SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
    columns = (spinner, TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def plain(text: object, style: str = "") -> Text:
    """Return foreign text on one line: no markup, and no control characters for a terminal."""
    return Text(escaped(str(text)), style)


def print_line(text: str, hanging: int | None = None) -> None:
    """Print one line to standard output, with control characters escaped; *hanging* as of `wrapped`."""
    echo(wrapped(escaped(text), sys.stdout, hanging))


def print_json(value: object, indent: int | None = None) -> None:
    """Print *value* as JSON to standard output, on one line unless *indent* is given."""
    echo_json(value, indent)


def selector(entry: Mapping[str, Any], as_id: Callable[[str], str] = str) -> str:
    """Return a selector of `tasksNotFound` as text, a task id as *as_id* writes it."""
    (kind, value), *_ = entry.items()
    if isinstance(value, dict):
        value = f"{value['name']}={value['value']}"
    return f"{kind} {as_id(value) if kind == 'taskId' else value}"


def _rows(key: str, entries: list[dict[str, Any]]) -> list[tuple[int, tuple[Cell, Cell, Cell, Cell]]]:
    """Return the rows of one list of a reply, each with the number of its stage, 0 without."""
    if key == "tasksNotFound":
        return [
            (
                0,
                (
                    Cell(selector(entry), short=selector(entry, cut_id)),
                    Cell("not found", "red"),
                    Cell(""),
                    Cell(""),
                ),
            )
            for entry in entries
        ]
    return [
        (
            entry.get("stage", 0),
            (
                Cell(entry["taskName"]),
                Cell(entry["status"], _STYLES.get(entry["status"], "red")),
                Cell(_facts(entry), short=_facts(entry, cut_id)),
                id_cell(entry["taskId"]),
            ),
        )
        for entry in entries
    ]


def id_cell(text: str) -> Cell:
    """Return the cell of an id."""
    return Cell(text, short=cut_id(text))


def _facts(entry: Mapping[str, Any], as_id: Callable[[str], str] = str) -> str:
    if "details" in entry:
        return f"{entry.get('code', '')}: {entry['details']}"
    facts = [as_id(entry["executionId"])] if entry.get("executionId") else []
    facts += [str(entry["reason"])] if entry.get("reason") else []
    facts += [f"place {entry['place']}"] if entry.get("place") else []
    facts += [f"behind {as_id(entry['behind'])}"] if entry.get("behind") else []
    facts += [str(entry["result"])] if entry.get("result") else []
    facts += [f"shared with {', '.join(entry['sharedWith'])}"] if entry.get("sharedWith") else []
    return ", ".join([*facts, "adopted"] if entry.get("adopted") else facts)
