"""
What pruning adds to a turn of the pipeline, apart from what else the machine does.

One pipeline on one journal turns under load, in blocks with and without pruning
by turns, so that both meet the same machine. Of each step of pruning are taken:
its time, the processor time of its thread, whether it had to wait (for the disk,
or for the processor), and the pages that the commit it shares wrote.
"""

from __future__ import annotations

import os
import resource
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from sqlalchemy import Connection

from butler_mqtt.journal.retention import Retention
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.settings import JournalSettings, Settings
from tests.pipeline.harness import Harness

#: Seconds in all, and of one block with or without pruning.
SECONDS = 120.0
BLOCK_SECONDS = 4.0
#: Requests handed in for each turn.
LOAD = 5
#: Seconds from one turn to the next, for the other threads and the disk: a load, not a flood.
PACE_SECONDS = 0.02
KEPT_DAYS = 30.0


@dataclass
class Turns:
    """Turns that tidy, the only ones in which is pruned: seconds of each and of its commit, and its pages."""

    took: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    checkpoints: list[float] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Give it as lines."""
        return "\n".join(
            (
                f"turns {name}: {_spread(self.took)}",
                f"  their commits: {_spread(self.commits)}",
                f"  pages these wrote: median {median(self.pages):.0f}, most {max(self.pages)}",
                f"  commits of any turn with a checkpoint: {_spread(self.checkpoints)}",
            )
        )


@dataclass
class Steps:
    """Stands in for the retention of a pipeline, and takes the times of its steps."""

    pruning: Retention
    on: bool = False
    took: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)
    #: The times of those that never waited, and how many read from the disk.
    unhindered: list[float] = field(default_factory=list)
    reading: int = 0

    def step(self, connection: Connection) -> bool:
        if not self.on:
            return False
        waits, reads = _hindrances()
        worked, began = time.thread_time(), time.perf_counter()
        more = self.pruning.step(connection)
        took = time.perf_counter() - began
        self.worked.append(time.thread_time() - worked)
        self.took.append(took)
        waits_after, reads_after = _hindrances()
        if waits_after == waits:
            self.unhindered.append(took)
        self.reading += reads_after > reads
        return more


class Log:
    """The write-ahead log of a journal, watched through its index (sqlite.org/walformat.html)."""

    def __init__(self, journal: Path) -> None:
        self._file = os.open(f"{journal}-shm", os.O_RDONLY)

    def frames(self) -> int:
        """Give how many pages it has."""
        return self._number(16)

    def copied(self) -> int:
        """Give how many of them the last checkpoint copied into the journal."""
        return self._number(96)

    def _number(self, place: int) -> int:
        return int(struct.unpack("I", os.pread(self._file, 4, place))[0])


def measure(folder: Path) -> str:
    """Turn on the journal of *folder*, whose old requests are pruned, and give the figures."""
    settings = replace(Settings(), journal=JournalSettings(retention_days=3650.0))
    harness = Harness(folder, settings, timings=LoopTimings())
    harness.start()
    harness.site.lasting = False
    task = harness.site.add("Sales")
    steps = Steps(Retention(KEPT_DAYS))
    # It has the one method that is called.
    harness.pipeline.turns.maintenance.retention = steps  # type: ignore[assignment]
    log = Log(harness.path)
    commits: list[tuple[float, int, bool]] = []
    plain = harness.journal.transaction

    @contextmanager
    def transaction() -> Iterator[Connection]:
        copied = log.copied()
        with plain() as connection:
            yield connection
            frames, began = log.frames(), time.perf_counter()
        took = time.perf_counter() - began
        written = log.frames() - frames
        # After a checkpoint that copied all, the next commit begins the log anew.
        written = written if written >= 0 else log.frames()
        commits.append((took, written, log.copied() not in (0, copied)))

    harness.journal.transaction = transaction  # type: ignore[method-assign] # only its end is timed
    turns = {False: Turns(), True: Turns()}
    size = [harness.path.stat().st_size]
    end = time.monotonic() + SECONDS
    block = 0.0
    while time.monotonic() < end:
        if time.monotonic() >= block:
            block = time.monotonic() + BLOCK_SECONDS
            steps.on = not steps.on
            size.append(harness.path.stat().st_size)
        _turn(harness, task, turns[steps.on], commits)
    pruned = steps.pruning._pruned
    harness.pipeline.close()
    before, most = size[0] / 1e6, max(size) / 1e6
    return "\n".join(
        (
            f"{SECONDS:g} s in blocks of {BLOCK_SECONDS:g} s; {pruned} requests pruned",
            f"the file had {before:.1f} MB before and {most:.1f} MB at most",
            turns[False].text("without pruning"),
            turns[True].text("with pruning"),
            f"steps of pruning: {_spread(steps.took)}",
            f"  processor time: {_spread(steps.worked)}",
            f"  those that never waited: {_spread(steps.unhindered)}",
            f"  those that read from the disk: {steps.reading}",
        )
    )


def _turn(harness: Harness, task: str, turns: Turns, commits: list[tuple[float, int, bool]]) -> None:
    for _ in range(LOAD):
        harness.send({"taskId": task, "ifRunning": "skip"})
    tidied, first = harness.pipeline.turns.expiry.checked, len(commits)
    began = time.perf_counter()
    harness.pipeline.turn(0.0)
    took = time.perf_counter() - began
    if harness.pipeline.turns.expiry.checked != tidied:
        turns.took.append(took)
        turns.commits.append(commits[first][0])
        turns.pages.append(commits[first][1])
    harness.find()
    harness.post()
    harness.follow()
    harness.broker.confirm()
    turns.checkpoints += [seconds for seconds, _, copied in commits[first:] if copied]
    time.sleep(PACE_SECONDS)


def _hindrances() -> tuple[int, int]:
    """Count how often this thread has waited, for whatever, and how often it has read from the disk."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_nivcsw + usage.ru_nvcsw, usage.ru_inblock


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)

    def at(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    shares = ", ".join(f"{name} {at(share):.1f}" for name, share in (("90 %", 0.9), ("99 %", 0.99)))
    return f"median {at(0.5):.1f} ms, {shares}, longest {at(1.0):.1f}; {len(times)}"
