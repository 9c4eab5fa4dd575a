"""Programs on a terminal."""

from __future__ import annotations

import os
import pty
from collections.abc import Sequence

from tests import programs
from tests.brokers import until


def on_terminal(command: Sequence[str], width: int = 80) -> str:
    """Run *command* with its output on a terminal of that many columns; return what it printed."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color"}
    process = programs.start(command, stdout=theirs, env=environment)
    os.close(theirs)
    read = b""

    def all_read() -> bool:
        nonlocal read
        try:
            read += os.read(ours, 65536)
        except BlockingIOError:
            return False
        except OSError:  # the other end is closed
            return True
        return False

    try:
        until(all_read)
    finally:
        os.close(ours)
        process.wait()
    return read.decode().replace("\r\n", "\n")
