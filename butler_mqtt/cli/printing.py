"""Prints results of commands: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped, escaped_lines, json_text

#: Columns when the output goes into a file or a pipe: no line is broken there.
_PIPE_WIDTH = 240
_STYLES = {
    "started": "green",
    "wouldStart": "green",
    "queued": "yellow",
    "running": "yellow",
    "alreadyRunning": "yellow",
}


def show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a reply, or the answer of `resolve`, to standard output."""
    if as_json:
        print_json(answer)
        return
    console = for_results()
    request = f"request {answer['requestId']}" if "requestId" in answer else "the request"
    if "error" in answer:
        console.print(plain(f"{request} was refused: {answer['error']} ({answer['code']})", "bold red"))
        console.print(plain(answer["details"]))
    else:
        started = f", {answer['totalTasksStarted']} started" if "totalTasksStarted" in answer else ""
        console.print(plain(f"{request}: {answer['status']}{started}", "bold"))
    for stage in answer.get("stages", ()):
        console.print(stage_line(stage))
    lists = {
        key: entries
        for key, entries in answer.items()
        if key.startswith("tasks") and isinstance(entries, list)
    }
    staged = any("stage" in entry for entries in lists.values() for entry in entries)
    rows = [row for key, entries in lists.items() for row in _rows(key, entries)]
    if rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in (*(("stage",) if staged else ()), "task", "status", "execution, or reason", "task id"):
            table.add_column(heading, overflow="fold")
        for number, row in sorted(rows, key=lambda row: row[0]) if staged else rows:
            table.add_row(*((plain(number or ""),) if staged else ()), *row)
        console.print(table)


def stage_line(stage: Mapping[str, Any]) -> Text:
    """Return what an entry of `stages` in a reply says, on one line."""
    name = f" {stage['name']}" if stage.get("name") else ""
    tasks = f"{stage['tasks']} task{'' if stage['tasks'] == 1 else 's'}" if "tasks" in stage else ""
    style = {"succeeded": "green", "running": "yellow", "waiting": ""}.get(stage["status"], "red")
    return plain(f"stage {stage['stage']}{name}: {stage['status']}" + (f", {tasks}" if tasks else ""), style)


def for_results() -> Console:
    """Return the console of standard output; into a file or a pipe no line is broken."""
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=_PIPE_WIDTH)


def print_error(text: str) -> None:
    """Print what went wrong to standard error."""
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(Text(escaped_lines(text)))


def failed(text: str) -> ExitCode:
    """Print what went wrong to standard error; return the exit code for it."""
    print_error(text)
    return ExitCode.FAILED


def progress() -> Progress:
    """Return a line on standard error that shows what is waited for; only on a terminal."""
    console = Console(stderr=True, markup=False, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def plain(text: object, style: str = "") -> Text:
    """Return foreign text on one line: no markup, and no control characters for a terminal."""
    return Text(escaped(str(text)), style)


def print_line(text: str) -> None:
    """Print one line to standard output, with control characters escaped."""
    typer.echo(escaped(text))


def print_json(value: object, indent: int | None = None) -> None:
    """Print *value* as JSON to standard output, on one line unless *indent* is given."""
    typer.echo(json_text(value, indent))


def selector(entry: Mapping[str, Any]) -> Text:
    """Return a selector of `tasksNotFound` as text."""
    (kind, value), *_ = entry.items()
    if isinstance(value, dict):
        value = f"{value['name']}={value['value']}"
    return plain(f"{kind} {value}")


def _rows(key: str, entries: list[dict[str, Any]]) -> list[tuple[int, tuple[Text, Text, Text, Text]]]:
    """Return the rows of one list of a reply, each with the number of its stage, 0 without."""
    if key == "tasksNotFound":
        return [(0, (selector(entry), plain("not found", "red"), plain(""), plain(""))) for entry in entries]
    return [
        (
            entry.get("stage", 0),
            (
                plain(entry["taskName"]),
                plain(entry["status"], _STYLES.get(entry["status"], "red")),
                plain(_facts(entry)),
                plain(entry["taskId"]),
            ),
        )
        for entry in entries
    ]


def _facts(entry: Mapping[str, Any]) -> str:
    if "details" in entry:
        return f"{entry.get('code', '')}: {entry['details']}"
    facts = [str(entry[key]) for key in ("executionId", "reason", "behind", "result") if entry.get(key)]
    if entry.get("place"):
        facts.append(f"place {entry['place']}")
    return ", ".join([*facts, "adopted"] if entry.get("adopted") else facts)
