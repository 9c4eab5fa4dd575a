"""`butler-mqtt init --from-butler`: a configuration of Butler's, written as ours."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from butler_mqtt.cli import shipped_file
from butler_mqtt.cli.options import end
from butler_mqtt.cli.terminal import echo
from butler_mqtt.config import loader
from butler_mqtt.config.butler_conversion import Conversion, convert
from butler_mqtt.errors import ConfigError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped, escaped_lines, wrapped

#: What each comment begins with that tells of a change.
MARK = "From Butler:"
_WIDTH = 100
_PAGE = "docs/moving-from-butler.md"
#: A header that holds no secret, unlike others that a proxy may ask for.
_USER = "x-qlik-user"


def write(source: Path, output: Path, *, force: bool) -> Conversion:
    """
    Write the configuration that *source* is here, and return what was made of it.

    A file that cannot be read or is not Butler's ends the program with code 78,
    an output that exists without *force* or cannot be written with 1.
    """
    if output.exists() and not force:
        _end(f"{output} exists already; --force replaces it", ExitCode.FAILED)
    if output.exists() and source.exists() and output.samefile(source):
        _end(f"{output} is the file to read: name another with --output", ExitCode.FAILED)
    try:
        made = convert(source, loader.read(source), output.absolute().parent, os.environ)
        text = shipped_file.filled(shipped_file.template(), made.values, dict(_comments(source, made)))
        headers = made.values.get(("configQRS", "headers", "static"), ())
        secret = any(header["name"].lower() != _USER for header in headers)
        shipped_file.write(output, text, secret=secret, force=force)
    except ConfigError as error:
        _end(str(error), ExitCode.CONFIG)
    except (shipped_file.InitError, OSError) as error:
        _end(str(error), ExitCode.FAILED)
    echo(f"{output} is written, each change with a comment `{MARK}`")
    return made


def print_choices(made: Conversion) -> None:
    """Print what a person must decide on, if there is anything."""
    if not made.choices:
        return
    echo("\nTo decide, each with its line in the file:")
    for choice in made.choices:
        echo(wrapped(f"  {escaped(choice)}", sys.stdout, 4))


def _end(message: str, code: ExitCode) -> NoReturn:
    echo(wrapped(escaped_lines(message), sys.stderr), err=True)
    end(code)


def _comments(source: Path, made: Conversion) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the lines of all comments by the key that they stand above."""
    for path, notes in made.notes.items():
        if path:
            yield path, [line for note in notes for line in _lines(note.text, note.instead)]
    at_end = [line for note in made.notes.get((), ()) for line in _lines(note.text, note.instead)]
    if made.left_out:
        sections = [
            line
            for instead, names in made.left_out.items()
            for line in textwrap.wrap(
                f"{', '.join(names)} ({instead})", _WIDTH, initial_indent="  ", subsequent_indent="    "
            )
        ]
        heading = f"these sections of {source.name} have no meaning here and were left out ({_PAGE}):"
        at_end += _lines(heading, tuple(sections))
    if at_end:
        yield (), at_end


def _lines(text: str, instead: tuple[str, ...]) -> list[str]:
    return [
        *textwrap.wrap(f"{MARK} {escaped(text)}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False),
        *map(escaped, instead),
    ]
