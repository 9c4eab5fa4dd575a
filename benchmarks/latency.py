"""From PUBLISH to the POST's arrival at the server, beside a loop that only subscribes and posts."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.rig import Place

#: Seconds for which one way is measured before the next has its turn.
TURN_SECONDS = 4.0
#: Seconds before that which do not count: what has been idle wakes up.
LEAD_SECONDS = 1.0

#: Publishes a request for a task; gives the monotonic nanoseconds just before.
Send = Callable[[str], int]
#: Measures for so many seconds; gives milliseconds.
Way = Callable[[float], list[float]]


@contextmanager
def bare_loop(place: Place, *options: str) -> Iterator[None]:
    """Run `benchmarks.bare` beside the daemon, on a topic of its own."""
    ports = [str(place.broker.port), str(place.server.port), str(place.server.certs)]
    loop = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", *ports, *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert loop.stdout is not None
        assert loop.stdout.readline() == "subscribed\n"
        yield
    finally:
        loop.kill()
        loop.communicate()


def in_turns(ways: Sequence[Way], seconds: float, rest: Callable[[], None]) -> list[list[float]]:
    """
    Measure each way for *seconds* in all.

    They take turns, so that a machine that is slower for a while is so for
    each; *rest* is called before each turn and waits until nothing is left of
    the one before.

    Returns:
        The milliseconds of each way.
    """
    taken: list[list[float]] = [[] for _ in ways]
    turns = max(1, round(seconds / TURN_SECONDS))
    for _ in range(turns):
        for way, times in zip(ways, taken, strict=True):
            rest()
            way(LEAD_SECONDS)
            times.extend(way(seconds / turns))
    return taken


def delays(place: Place, rate: int, send: Send, tasks: Iterator[str], seconds: float) -> list[float]:
    """Publish at a steady rate; give the milliseconds until each POST arrived."""
    sent: dict[str, deque[int]] = defaultdict(deque)
    mark = place.server.mark()
    count = round(rate * seconds)
    due = time.monotonic()
    for task in itertools.islice(tasks, count):
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        sent[task].append(send(task))
        due += 1 / rate
    deadline = time.monotonic() + 30
    while len(posts := place.server.posts(mark)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(posts) == count, f"{len(posts)} POSTs of {count}"
    # What is published next keeps the pace.
    time.sleep(max(0.0, due - time.monotonic()))
    # The order of each task's requests is kept.
    return [(moment - sent[task].popleft()) / 1e6 for moment, task in posts]
