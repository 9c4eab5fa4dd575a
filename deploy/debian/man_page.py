"""
Writes the manual page of the commands from what `--help` shows, to standard output.

`python man_page.py`, with the program installed in that Python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

from butler_mqtt import __version__
from butler_mqtt.cli import main
from butler_mqtt.exit_codes import ExitCode


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of click with the words that call it, groups before what is in them."""
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*path, name))


def options(command: Any) -> Iterator[tuple[str, str]]:
    """Yield the options of a command as they are written, and what they do."""
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            yield ", ".join([*one.opts, *one.secondary_opts]), one.help or ""


def roff(text: str) -> str:
    """Write *text* so that the formatter takes it as it stands."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def man(root: Any) -> str:
    """Return the manual page, section 1."""
    lines = [
        f'.TH BUTLER\\-MQTT 1 "" "butler\\-mqtt {__version__}" "User commands"',
        ".SH NAME",
        f"butler\\-mqtt \\- {roff(root.help.partition(chr(10))[0].rstrip('.').replace('Start', 'start', 1))}",
        ".SH SYNOPSIS",
        ".B butler\\-mqtt",
        "COMMAND [OPTIONS]",
        ".SH COMMANDS",
    ]
    for path, command in commands(root):
        if not path:
            continue
        lines += [".SS " + roff(" ".join(path)), roff((command.help or "").replace("\n\n", "\n"))]
        if command.epilog:
            lines += [".PP", roff(command.epilog)]
        for names, text in options(command):
            lines += [".TP", f".B {roff(names)}", roff(text)]
    lines += [".SH EXIT STATUS"]
    for code in ExitCode:
        lines += [".TP", f".B {code.value}", roff(code.name.lower().replace("_", " "))]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /etc/butler\\-mqtt/config.yaml",
        "The configuration of the service.",
        ".TP",
        ".I /usr/share/doc/butler\\-mqtt/docs",
        "All pages of the documentation.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(man(typer.main.get_command(main.app)))
