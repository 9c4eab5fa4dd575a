"""Standard output and standard error, whatever they can show or take. Loads little."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from pathlib import Path

from butler_mqtt.printable import json_text

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def fit_streams() -> None:
    """
    Have a terminal or a pipe that is not UTF-8 show `?` for what it lacks, in place of a traceback.

    A stream that was closed before the program began leads nowhere: else what is opened next, a
    connection or the journal, would have its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free.
            opened = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(opened, True)
            setattr(sys, name, os.fdopen(opened, "w" if number else "r", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _is_utf8(stream):
            stream.reconfigure(errors="replace")


def echo(text: str, *, err: bool = False) -> None:
    """
    Print a line to standard output, or to standard error.

    In the encoding of the stream: `typer.echo` writes UTF-8 to one that is ASCII.
    """
    stream = sys.stderr if err else sys.stdout
    # An error that cannot be told still has its exit code.
    with contextlib.suppress(OSError) if err else contextlib.nullcontext():
        stream.write(f"{text}\n")
        stream.flush()


def explained(error: OSError) -> str | None:
    """Return what is wrong with standard output or the current folder, None for any other error."""
    if error.filename is not None:
        return None
    if error.errno in _FULL:
        # What is left in the stream would fail again when the program ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written: {error.strerror}"
    try:
        Path.cwd()
    except OSError as gone:
        return f"the current folder cannot be used: {gone.strerror}; change to another"
    return None


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
