"""Standard output and standard error, whatever characters they can show. Loads little."""

from __future__ import annotations

import codecs
import io
import os
import sys

from butler_mqtt.printable import json_text


def fit_streams() -> None:
    """Have a terminal or a pipe that is not UTF-8 show `?` for what it lacks, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _is_utf8(stream):
            stream.reconfigure(errors="replace")


def echo(text: str, *, err: bool = False) -> None:
    """
    Print a line to standard output, or to standard error.

    In the encoding of the stream: `typer.echo` writes UTF-8 to one that is ASCII.
    """
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


def echo_json(value: object, indent: int | None = None) -> None:
    """Print *value* as JSON to standard output."""
    echo(as_json(value, indent))


def as_json(value: object, indent: int | None = None) -> str:
    """
    Write *value* as JSON for standard output, in ASCII unless that is UTF-8.

    With LC_ALL=C Python writes UTF-8 all the same (PEP 540), which whoever set it did not ask for.
    """
    plain = os.environ.get("LC_ALL") in {"C", "POSIX"}
    return json_text(value, indent, ascii_only=plain or not _is_utf8(sys.stdout))


def _is_utf8(stream: object) -> bool:
    try:
        return codecs.lookup(getattr(stream, "encoding", None) or "ascii").name == "utf-8"
    except LookupError:
        return False
