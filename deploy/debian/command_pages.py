"""
Writes the manual page of the commands, or their completion for bash, from what `--help` shows.

`python command_pages.py man|completion`, with the program installed in that Python.
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

_COMPLETION = """# Completion of butler-mqtt for bash; written from the program's own help.
_butler_mqtt() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command= one
    for one in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$one" in -*) ;; *) command="$command $one"; [[ " {groups} " == *" $one "* ]] || break ;; esac
    done
    case "${{command# }}" in
{cases}
    *) COMPREPLY=() ;;
    esac
    [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}}
complete -F _butler_mqtt butler-mqtt
"""


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


def completion(root: Any) -> str:
    """Return the completion for bash: commands, and the options of each."""
    cases, groups = [], []
    for path, command in commands(root):
        names = [word for written, _ in options(command) for word in written.split(", ")]
        words = [*getattr(command, "commands", {}), *names, "--help"]
        if path and hasattr(command, "commands"):
            groups.append(path[-1])
        pattern = " ".join(path) or ""
        cases.append(f'    "{pattern}") COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word")) ;;')
    return _COMPLETION.format(groups=" ".join(groups), cases="\n".join(cases))


if __name__ == "__main__":
    written = {"man": man, "completion": completion}[sys.argv[1]]
    sys.stdout.write(written(typer.main.get_command(main.app)))
