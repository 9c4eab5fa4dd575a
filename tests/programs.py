"""
Commands, daemon and simulator as processes, without the second of processor time that Python's start takes.

Most of what a short run of a program costs is Python finding, loading and executing
eight hundred modules. Here that is done once for each process that runs tests, by a
fork server, and each run is a copy of it: a process like any other, a child of the
test, with arguments, environment, folder, streams and signals of its own.

What a copy cannot be is started as usual: other programs, another loader, another
encoding, something that is to be done before the start; and, with
`BUTLER_TEST_PROGRAMS=exec`, everything.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests import fork_server

#: Modules that `python -m` runs.
COPIED = ("butler_mqtt", "butler_mqtt.simulator")
#: Beginnings of variables that take effect before a program's first line.
EARLY = ("PYTHON", "LD_", "LANG", "LC_", "MALLOC_", "GLIBC_")
#: What the fork server can do for a program.
OPTIONS = {"stdin", "stdout", "stderr", "text", "cwd", "env", "start_new_session"}

Command: TypeAlias = Sequence[str | Path]


class Program(subprocess.Popen[str]):
    """As `subprocess.Popen` with text; where it can be, the program comes from the fork server."""

    def __init__(self, command: Command, **options: Any) -> None:
        self._copied = (
            os.environ.get("BUTLER_TEST_PROGRAMS") != "exec"
            and tuple(command[:2]) == (sys.executable, "-m")
            and command[2] in COPIED
            and options.keys() <= OPTIONS
            and _early(options.get("env") or os.environ) == _early(os.environ)
        )
        super().__init__(command, text=True, **options)

    def _execute_child(self, command: Command, *rest: Any) -> None:
        """Start the program; what `subprocess.Popen` does for it elsewhere."""
        if not self._copied:
            super()._execute_child(command, *rest)  # type: ignore[misc]
            return
        _, _, _, _, folder, environment, _, _, _, *pipes = rest[:15]
        order = {
            "module": command[2],
            "arguments": [str(one) for one in command[3:]],
            "environment": dict(os.environ if environment is None else environment),
            "cwd": str(folder or Path.cwd()),
            "session": rest[20],
        }
        given = (pipes[0], pipes[3], pipes[5])
        streams = [own if one == -1 else one for own, one in enumerate(given)]
        self.pid = _server().start(order, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(command: Command, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` does, and keep what it printed."""
    with Program(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as program:
        try:
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()
    return subprocess.CompletedProcess(command, program.returncode, out, err)


class ForkServer:
    """A process that makes programs by copying itself; it ends with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, fork_server.__file__], stdin=theirs.fileno())
        atexit.register(self.close)

    def start(self, order: Mapping[str, object], streams: Sequence[int]) -> int:
        """Start what is ordered, with these standard streams, as our child; returns its process id."""
        with self._lock:
            fork_server.adopt(True)
            try:
                socket.send_fds(self._orders, [json.dumps(order).encode()], streams)
                number = int(self._orders.recv(64))
                assert self._orders.recv(64) == b"born", "the fork server ended"
            finally:
                fork_server.adopt(False)
        return number

    def close(self) -> None:
        """Let it end."""
        self._orders.close()
        self._process.wait(60)


@functools.cache
def _server() -> ForkServer:
    return ForkServer()


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    """Give what of an environment a process cannot be told after its start."""
    late = {"PYTHONUNBUFFERED"}
    return {name: value for name, value in environment.items() if name.startswith(EARLY) and name not in late}
