"""
Commands, daemon and simulator as processes, without the second of processor time that Python's start takes.

Most of what a short run of a program costs is Python finding, loading and executing
eight hundred modules. Here that is done once for each process that runs tests, by
the fork server of `multiprocessing`, and each run is a copy of it: a process like
any other, with arguments, environment, folder, streams and signals of its own.

What a copy cannot be is started as usual: other programs, another loader, another
encoding; and, with `BUTLER_TEST_PROGRAMS=exec`, everything.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, TextIO, TypeAlias

from butler_mqtt.clock import STEADY
from tests.project import ROOT

#: Modules that `python -m` runs.
COPIED = ("butler_mqtt", "butler_mqtt.simulator")
#: Beginnings of variables that take effect before a program's first line.
EARLY = ("PYTHON", "LD_", "LANG", "LC_", "MALLOC_", "GLIBC_")
PRELOADED = "tests.preloaded"

Command: TypeAlias = Sequence[str | Path]
Stream: TypeAlias = int | IO[Any] | None


class Copy:
    """A copy of the fork server, with those parts of `subprocess.Popen` that the tests use."""

    #: `multiprocessing` asks after all children whenever it starts one, and threads must not do so at once.
    _lock = threading.Lock()

    def __init__(
        self,
        command: Command,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args = command
        with contextlib.ExitStack() as theirs:
            streams = [_inherited(number, one, theirs) for number, one in enumerate((stdin, stdout, stderr))]
            self.stdin, self.stdout, self.stderr = (ours for _, ours in streams)
            with self._lock:
                self._process = _fork_server().Process(
                    target=_become,
                    args=(
                        [str(one) for one in command[2:]],
                        dict(os.environ if env is None else env),
                        str(cwd or Path.cwd()),
                        start_new_session,
                        _Descriptors([number for number, _ in streams]),
                    ),
                    # It ends with us.
                    daemon=True,
                )
                self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, that of `subprocess`; None while it runs."""
        with self._lock:
            return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises `subprocess.TimeoutExpired` after *timeout* seconds."""
        wait([self._process.sentinel], timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired(list(map(str, self.args)), timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what it printed, to its end; raises `subprocess.TimeoutExpired` after *timeout* seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        for reader in self._readers:
            reader.join(_left(end))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(list(map(str, self.args)), timeout or 0)
        self.wait(_left(end))
        return self._printed["stdout"], self._printed["stderr"]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    @functools.cached_property
    def _readers(self) -> list[threading.Thread]:
        self._printed = {"stdout": "", "stderr": ""}

        def read(name: str, stream: TextIO) -> None:
            with stream:
                self._printed[name] = stream.read()

        pipes = {"stdout": self.stdout, "stderr": self.stderr}
        readers = [
            threading.Thread(target=read, args=(name, pipe), daemon=True)
            for name, pipe in pipes.items()
            if pipe is not None
        ]
        for one in readers:
            one.start()
        return readers


Program: TypeAlias = "subprocess.Popen[str] | Copy"


def start(command: Command, **options: Any) -> Program:
    """Start a program, with the options of `subprocess.Popen` that `Copy` knows; its streams carry text."""
    environment = options.get("env") or os.environ
    if (
        os.environ.get("BUTLER_TEST_PROGRAMS") != "exec"
        and tuple(command[:2]) == (sys.executable, "-m")
        and command[2] in COPIED
        and _early(environment) == _early(os.environ)
    ):
        return Copy(command, **options)
    return subprocess.Popen(command, text=True, **options)


def run(command: Command, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` does, and keep what it printed."""
    with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as program:
        try:
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()
    return subprocess.CompletedProcess(command, program.returncode or 0, out, err)


class _Descriptors:
    """Open files that a copy gets under other numbers than they have here."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    def __getstate__(self) -> list[Any]:
        return [DupFd(one) for one in self._numbers]

    def __setstate__(self, given: list[Any]) -> None:
        self._numbers = [one.detach() for one in given]

    def become_standard(self) -> None:
        """Make of them the standard streams of this process."""
        for number, one in enumerate(self._numbers):
            os.dup2(one, number)
        for one in set(self._numbers):
            os.close(one)


@functools.cache
def _fork_server() -> ForkServerContext:
    """Start the server; it imports by the folder in which it starts."""
    server = multiprocessing.get_context("forkserver")
    # typer imports pydantic where another package has brought it along; one that is missing is passed over.
    server.set_forkserver_preload([__name__, "pydantic.type_adapter", PRELOADED])
    with contextlib.chdir(ROOT):
        first = server.Process(target=_prove_preloaded)
        first.start()
    first.join()
    assert first.exitcode == 0, "the fork server has not imported what programs need"
    return server


def _prove_preloaded() -> None:
    sys.exit(PRELOADED not in sys.modules)


def _become(
    command: Sequence[str], environment: Mapping[str, str], folder: str, leads: bool, files: _Descriptors
) -> None:
    """Make of this process what a new one with *command* would be, and run it."""
    files.become_standard()
    if leads:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.path.insert(0, folder)
    module, *arguments = command
    sys.argv = ["-m", *arguments]
    # That it was made some time ago must not look like a jump.
    STEADY.restart()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stream(number: int) -> io.TextIOWrapper:
    """Open a standard stream as Python does at its start."""
    unbuffered = number != 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
    raw = io.FileIO(number, "w" if number else "r", closefd=False)
    binary: Any = io.BufferedReader(raw) if number == 0 else raw if unbuffered else io.BufferedWriter(raw)
    errors = "backslashreplace" if number == 2 else "strict"
    lines = number == 2 or raw.isatty()
    return io.TextIOWrapper(binary, None, errors, None, lines, unbuffered)


def _inherited(number: int, given: Stream, theirs: contextlib.ExitStack) -> tuple[int, TextIO | None]:
    """Return a descriptor for the standard stream *number*, and our end where it is a pipe."""
    if given is None:
        return number, None
    if given == subprocess.DEVNULL:
        number = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, number)
        return number, None
    if given != subprocess.PIPE:
        return given if isinstance(given, int) else given.fileno(), None
    read, write = os.pipe()
    ours, their = (write, read) if number == 0 else (read, write)
    theirs.callback(os.close, their)
    return their, os.fdopen(ours, "w" if number == 0 else "r", buffering=1)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    """Give what of an environment a process cannot be told after its start."""
    late = {"PYTHONUNBUFFERED"}
    return {name: value for name, value in environment.items() if name.startswith(EARLY) and name not in late}
