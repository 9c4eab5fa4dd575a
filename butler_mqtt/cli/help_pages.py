"""Where the documentation is on this machine: named by `--help`, and when a command fails."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import wrapped

#: Columns of the lines behind the options, on a terminal of 80: two before them.
HELP_WIDTH = 78
#: The page about each command, and the heading on it; other commands of a group are on the group's page.
ABOUT = {
    "": "install.md",
    "run": "operations.md",
    "demo": "guarantees.md",
    "start": "requests.md",
    "cancel": "requests.md#Cancel",
    "check": "check.md#The lines",
    "health": "monitoring.md#Health and readiness",
    "init": "install.md#Configuration",
    "resolve": "troubleshooting.md#A task is not started",
    "requests": "audit.md",
    "requests retry": "audit.md#Again",
    "requests export": "audit.md#Audit log",
    "requests prune": "audit.md#Sooner",
    "requests backup": "operations.md#Backup",
    "requests restore": "operations.md#Restore",
    "requests resume": "operations.md#Restore",
    "review": "operations.md#Review",
    "alerts": "alerts.md",
    "rules": "rules.md",
    "token": "rest.md#Who may ask",
    "simulate-qrs": "simulator.md",
}
#: The page about each exit code that an operator has to act on.
ADVICE = {
    ExitCode.UNAVAILABLE: "troubleshooting.md",
    ExitCode.BUG: "exit-codes.md",
    ExitCode.JOURNAL: "troubleshooting.md#The service does not start",
    ExitCode.CLIENT_ID_IN_USE: "troubleshooting.md#The service does not start",
    ExitCode.CONFIG: "configuration.md",
}


def where(page: str) -> str:
    """Return the file of *page*: a wheel installs it in its environment, a checkout has it in `docs/`."""
    name, _, heading = page.partition("#")
    installed = Path(sys.prefix, "share/butler-mqtt/docs")
    sources = Path(__file__).parents[2] / "docs"
    file = (sources if sources.is_dir() and not installed.is_dir() else installed) / name
    return f'{file}, "{heading}"' if heading else str(file)


def advice(code: int) -> str | None:
    """Return the line that names the page about an exit code; None for a code that needs no explanation."""
    page = next((page for known, page in ADVICE.items() if known == code), None)
    return None if page is None else f"read more: {where(page)}"


def print_advice(code: int) -> None:
    """Print that line, if there is one, to standard error."""
    line = advice(code)
    if line is not None:
        echo(wrapped(line, sys.stderr), err=True)


def add_to_help(command: Any, typed: str = "", page: str = "") -> None:
    """
    Name the page at the end of the `--help` of a command and of the commands below it.

    Args:
        command: Of click, as `typer.main.get_command` makes it.
        typed: What is typed for it behind `butler-mqtt`.
        page: The page of the group it belongs to, where `ABOUT` has none for it.
    """
    page = ABOUT.get(typed, page)
    examples = [line for line in (command.epilog or "").splitlines() if line.strip("\b ")]
    parts = [part for part in (examples, [f"Read more: {where(page)}"]) if part]
    command.epilog = "\n\n".join(map(_unbroken, parts))
    for name, one in getattr(command, "commands", {}).items():
        if one.add_help_option:  # else it reads its arguments itself
            add_to_help(one, f"{typed} {name}".strip(), page if typed else "")


def _unbroken(lines: list[str]) -> str:
    """Wrap a paragraph of help at its spaces alone: paths are copied from it, and have hyphens."""
    wrapped_lines = (
        textwrap.wrap(line, HELP_WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines
    )
    # \b has click leave the lines as they are.
    return "\n".join(["\b", *(one for those in wrapped_lines for one in those)])
