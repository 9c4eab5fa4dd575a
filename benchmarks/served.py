"""Starts at a server that takes its time, beside as many threads that do nothing but POST."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks import bare
from benchmarks.flood import Flood
from benchmarks.report import Line
from benchmarks.rig import Daemon, Place

#: Seconds that the server takes for a start, and how many are under way at a time.
CASES = ((0.02, 4), (0.05, 4), (0.02, 16), (0.05, 16))
#: Least share of the bare threads' rate.
RATIO = 0.95
#: Left out at each end, for each thread: the beginning and the end of a burst are no steady state.
SETTLING = 5


def lines(place: Place, starts: int, rounds: int, quiet: Callable[[Daemon], None]) -> Iterator[Line]:
    """Measure each case, the daemon and the bare threads in turns."""
    for seconds, threads in CASES:
        daemon = place.daemon(startTask={"maxConcurrentStarts": threads})
        daemon.start()
        tasks = place.tasks[: min(starts, int(threads / seconds * 5))]
        ours, bares, used = [], [], []
        with Flood(place.broker.port, place.folder) as flood, slow(place, seconds):
            flood.burst({"taskId": task} for task in tasks[: 4 * threads])
            for _ in range(rounds):
                bares.append(_bare(place, tasks, threads))
                quiet(daemon)
                mark, before = place.server.mark(), daemon.cpu()
                flood.burst({"taskId": task} for task in tasks)
                used.append((daemon.cpu() - before) / len(tasks) * 1000)
                ours.append(_rate(place, mark, threads))
                quiet(daemon)
        daemon.stop()
        rate, base = max(ours), max(bares)
        name = f"server takes {seconds * 1000:.0f} ms, {threads} at a time"
        yield Line(name, rate, "POST/s", base, rate / base, f">= {RATIO}", rate / base >= RATIO)
        yield Line("  processor time of the daemon for each", min(used), "ms")


@contextmanager
def slow(place: Place, seconds: float) -> Iterator[None]:
    """Let the server take *seconds* for each start."""
    fault = {"kind": "slow", "path": "*/start/synchronous", "seconds": seconds, "count": None}
    planted = place.server.admin("POST", "/faults", fault)
    yield
    del planted
    place.server.admin("DELETE", "/faults")


def _rate(place: Place, mark: int, threads: int) -> float:
    """Give POSTs a second by their arrivals at the server."""
    moments = [moment for moment, _ in place.server.posts(mark)]
    kept = moments[SETTLING * threads : -SETTLING * threads]
    return (len(kept) - 1) / ((kept[-1] - kept[0]) / 1e9)


def _bare(place: Place, tasks: Sequence[str], threads: int) -> float:
    mark = place.server.mark()
    left = iter(tasks)
    lock = threading.Lock()

    def work() -> None:
        post = bare.with_session(place.server.port, place.server.certs)
        while True:
            with lock:
                task = next(left, None)
            if task is None:
                return
            post(task)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return _rate(place, mark, threads)
