"""The moments of a kill: right after a step of a request's way is on disk, or a line is logged."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import READY, Daemon

#: Longest wait for a moment, from the start of the process; then it is killed without it.
PATIENCE_SECONDS = 4.0


@dataclass(frozen=True)
class Step:
    """A number in the journal, and whether its growth or its fall is the moment."""

    name: str
    query: str
    grows: bool = True


STEPS = (
    Step("delivery stored", "SELECT max(id) FROM deliveries"),
    Step("tasks decided", "SELECT max(id) FROM starts"),
    Step("run intended", "SELECT max(id) FROM runs"),
    Step("run in doubt", "SELECT count(*) FROM runs WHERE state = 'posted'"),
    Step("doubt settled", "SELECT count(*) FROM runs WHERE state = 'posted'", grows=False),
    Step("execution began", "SELECT count(*) FROM runs WHERE state = 'executing'"),
    Step("message in the outbox", "SELECT max(id) FROM outbox"),
    Step("message confirmed", "SELECT count(*) FROM outbox", grows=False),
    Step("execution ended", "SELECT count(*) FROM runs WHERE state = 'executing'", grows=False),
)
LINES = (
    READY,
    "butler-mqtt 0",
    "requests are open",
    "reading it from the server",
    "came again",
    "recorded already",
)


def after_a_step(daemon: Daemon, step: Step, chance: random.Random) -> str:
    """Wait until the step is on disk and perhaps a moment longer."""
    watch = _Watch(daemon.journal)
    try:
        before = watch.ask(step.query)

        def happened() -> bool:
            nonlocal before
            now = watch.ask(step.query)
            moved = now > before if step.grows else now < before
            before = now
            return moved

        came = _wait(happened)
    finally:
        watch.close()
    _linger(chance)
    return step.name if came else "at random"


def after_a_line(daemon: Daemon, line: str, since: int, chance: random.Random) -> str:
    """Wait until a line is in the log behind the byte *since*, and perhaps a moment longer."""
    came = _wait(lambda: line in daemon.log(since))
    _linger(chance)
    return f"log: {line}" if came else "at random"


def at_random(chance: random.Random) -> str:
    """Wait for any time, that of starting included."""
    time.sleep(chance.uniform(0, 1.2))
    return "at random"


def _linger(chance: random.Random) -> None:
    time.sleep(chance.choice((0.0, chance.expovariate(1000), chance.uniform(0, 0.03))))


def _wait(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class _Watch:
    """Asks a journal that another process writes, as often as wanted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None

    def ask(self, query: str) -> int:
        """Give the number, 0 while there is none."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=1)
            return int(self._connection.execute(query).fetchone()[0] or 0)
        except sqlite3.OperationalError:
            return 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
