"""
`python -m benchmarks.speed`: how fast the daemon is, each number beside the bare client of the same run.

Parts: burst, served, latency, memory, ready, journal, tags, rest, rules. With `--quick` fewer
requests, for a first figure; the targets are meant for the whole run.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import bare, callers, filling, ruled
from benchmarks import served as serving
from benchmarks.flood import Flood
from benchmarks.latency import Send, Way, bare_loop, delays, in_turns
from benchmarks.report import Line, Report
from benchmarks.rig import TAGGED, Daemon, Place, batches
from benchmarks.sender import Sender

#: A burst and the least share that it should reach of the rate of what people have, a loop of
#: `requests.Session`.
BURST = 3000
BURST_RATIO = 0.6
#: Times the bare loop's latency at 20 requests a second.
P50_RATIO, P99_RATIO = 2.0, 3.0
#: MB after 20,000 requests, and what may be added since the first 10,000.
MEMORY, MEMORY_GROWTH = 120.0, 5.0
READY = 1.5
#: Share of the rate that may be lost from 1,000 to 100,000 requests in the journal.
JOURNAL_LOSS = 0.2


@dataclass(frozen=True)
class Scale:
    """How much of everything: requests of a burst, in memory, in the journal; seconds at each rate."""

    burst: int = BURST
    memory: tuple[int, int] = (10_000, 20_000)
    ready: int = 20_000
    journal: tuple[int, int] = (1_000, 100_000)
    seconds: tuple[tuple[int, float], ...] = ((1, 20.0), (20, 20.0), (200, 8.0))
    tagged: int = 60
    rounds: int = 3
    callers: int = 50
    calling: float = 30.0
    flood: int = 10_000


QUICK = Scale(
    500, (1000, 2000), 2000, (1000, 10_000), ((20, 5.0), (200, 2.0)), 10, 1, calling=5.0, flood=2000
)


def burst(place: Place, scale: Scale) -> Iterator[Line]:
    """Publish requests at once: each for a task of its own, then all for ten tasks."""
    rates = {
        name: bare.loop(make, place.server.port, place.server.certs, place.tasks[: scale.burst + 1])
        for name, make in bare.CLIENTS.items()
    }
    for name, rate in rates.items():
        yield Line(f"bare keep-alive loop, {name}", rate, "POST/s")
    daemon = place.daemon()
    daemon.start()
    with Sender(place.broker.port) as sender:
        warm_up(sender, place)
    with Flood(place.broker.port, place.folder) as flood:
        answered, started, loops, used = [], [], [], []
        for _ in range(scale.rounds):
            loops.append(_loop(place, scale))
            before = daemon.cpu()
            replied, posted = _burst(place, flood, place.tasks[: scale.burst])
            used.append((daemon.cpu() - before) / scale.burst * 1000)
            answered.append(scale.burst / replied)
            started.append(scale.burst / posted)
            quiet(daemon)
        loops.append(_loop(place, scale))
        best = max(rates["requests.Session"], statistics.mean(loops))
        rate = statistics.median(started)
        yield Line(
            f"burst of {scale.burst}, each its own task: POSTs",
            rate,
            "POST/s",
            best,
            rate / best,
            f">= {BURST_RATIO}",
            rate / best >= BURST_RATIO,
        )
        rate = statistics.median(answered)
        yield Line("  the same, to the last reply", rate, "reply/s", best, rate / best)
        yield Line("  processor time of the daemon for each", statistics.median(used), "ms")
        few = list(itertools.islice(itertools.cycle(place.tasks[:10]), scale.burst))
        came = flood.burst({"taskId": task} for task in few)
        rate = scale.burst / came.seconds
        yield Line("  on 10 tasks (they queue and share runs): replies", rate, "reply/s", best)
        others = [one for one in came.replies if not one["totalTasksStarted"] and "tasksQueued" not in one]
        assert not others, others[:3]
    daemon.stop()


def _loop(place: Place, scale: Scale) -> float:
    return bare.loop(bare.with_session, place.server.port, place.server.certs, place.tasks[: scale.burst + 1])


def _burst(place: Place, flood: Flood, tasks: Sequence[str]) -> tuple[float, float]:
    """Give the seconds to the last reply and to the last POST."""
    mark = place.server.mark()
    began = time.monotonic_ns()
    came = flood.burst({"taskId": task} for task in tasks)
    refused = [one for one in came.replies if not one["totalTasksStarted"]]
    assert not refused, refused[:3]
    return came.seconds, (place.server.posts(mark)[-1][0] - began) / 1e9


def latency(place: Place, scale: Scale) -> Iterator[Line]:
    """
    Measure from PUBLISH to the POST's arrival at the server, in turns with a loop that subscribes and posts.

    Where the daemon has to ask for the task, so does the loop.
    """
    few, new = place.tasks[:10], place.tasks[100:]
    rates = dict(scale.seconds)
    daemon = place.daemon()
    daemon.start()
    with Sender(place.broker.port) as sender:

        def send(task: str) -> int:
            return sender.send({"taskId": task})

        def send_with_id(task: str) -> int:
            return sender.send({"taskId": task, "requestId": str(uuid.uuid4())})

        def compare(name: str, tasks: Sequence[str], way: Send, at: Iterable[int]) -> Iterator[Line]:
            pairs = [(one, itertools.cycle(tasks)) for one in (way, sender.send_bare)]
            for rate in at:
                ways: list[Way] = [partial(delays, place, rate, one, each) for one, each in pairs]
                if rate == 20:
                    # In the daemon's way only: where this is slow, its slowest requests are the disk's.
                    ways.append(partial(bare.disk, place.folder, rate))
                taken = in_turns(ways, rates[rate], partial(quiet, daemon))
                yield from _compared(f"{rate}/s, {name}", *taken, judged=rate == 20)

        warm_up(sender, place)
        # A daemon runs for months: its journal's log has the size that it keeps, see docs/performance.md.
        delays(place, 100, send, itertools.cycle(few), 4.0)
        quiet(daemon)
        with bare_loop(place):
            yield from compare("10 tasks", few, send, rates)
            yield from compare("10 tasks, an id each", few, send_with_id, [20])
        with bare_loop(place, "--ask"):
            yield from compare("new tasks", new, send, rates)
    daemon.stop()


def _compared(
    name: str, ours: list[float], bares: list[float], disk: Sequence[float] = (), *, judged: bool
) -> Iterator[Line]:
    for percent, allowed in ((50, P50_RATIO), (99, P99_RATIO)):
        value, base = percentile(ours, percent), percentile(bares, percent)
        ratio = value / base
        target, met = (f"<= {allowed:g}", ratio <= allowed) if judged else ("", None)
        yield Line(f"PUBLISH to POST at {name}, p{percent}", value, "ms", base, ratio, target, met)
        if disk:
            yield Line("  the disk alone meanwhile", percentile(disk, percent), "ms")


def memory(place: Place, scale: Scale) -> Iterator[Line]:
    """Watch the daemon's memory over many requests."""
    daemon = place.daemon()
    daemon.start()
    sizes: dict[int, float] = {}
    with Sender(place.broker.port) as sender:
        yield Line("RSS when ready", daemon.rss(), "MB")
        sent = 0
        for target in scale.memory:
            for part in batches(place.tasks * (target // len(place.tasks) + 1), 1000):
                sender.burst({"taskId": task} for task in part)
                sent += len(part)
                if sent >= target:
                    break
            sizes[target] = daemon.rss()
    daemon.stop()
    first, last = scale.memory
    yield Line(f"RSS after {first} requests", sizes[first], "MB")
    small = sizes[last] <= MEMORY
    yield Line(f"RSS after {last} requests", sizes[last], "MB", target=f"<= {MEMORY:g}", met=small)
    growth = sizes[last] - sizes[first]
    yield Line(
        "  growth between them", growth, "MB", target=f"<= {MEMORY_GROWTH:g}", met=growth <= MEMORY_GROWTH
    )


def ready(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure from the start of the process to its line `ready`."""
    for name, count in (("a new journal", 0), (f"a journal of {scale.ready} requests", scale.ready)):
        daemon = place.daemon()
        if count:
            filling.fill(daemon.journal, count, place.tasks)
        first = daemon.start()
        daemon.stop()
        times = []
        for _ in range(scale.rounds):
            times.append(daemon.start())
            daemon.stop()
        value = statistics.median(times) if count else first
        yield Line(f"ready with {name}", value, "s", target=f"<= {READY}", met=value <= READY)


def journal(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure the rate of a burst with few and with many requests in the journal."""
    rates: dict[int, list[float]] = {count: [] for count in scale.journal}
    daemons = {}
    for count in scale.journal:
        daemons[count] = place.daemon()
        filling.fill(daemons[count].journal, count, place.tasks)
    for _ in range(scale.rounds):
        for count, daemon in daemons.items():
            daemon.start()
            with Sender(place.broker.port) as sender:
                warm_up(sender, place)
                seconds = sender.burst({"taskId": task} for task in place.tasks[: scale.burst])
                rates[count].append(scale.burst / seconds)
            quiet(daemon)
            daemon.stop()
    few, many = (statistics.median(rates[count]) for count in scale.journal)
    yield Line(f"burst with {scale.journal[0]} requests in the journal", few, "reply/s")
    yield Line(
        f"burst with {scale.journal[1]} requests in the journal",
        many,
        "reply/s",
        few,
        many / few,
        f">= {1 - JOURNAL_LOSS:g}",
        many / few >= 1 - JOURNAL_LOSS,
    )


def tags(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure requests that name their tasks by a tag."""
    daemon = place.daemon()
    daemon.start()
    with Sender(place.broker.port) as sender:
        warm_up(sender, place)
        for count in TAGGED:
            tasks = place.server.tasks(f"Of {count} ")
            asked = max(3, scale.tagged // count)
            base = bare.loop(bare.with_session, place.server.port, place.server.certs, (tasks * asked)[:1000])
            before, began = sender.started, time.monotonic()
            for _ in range(asked):
                # One at a time: together they would share runs.
                sender.burst([{"tag": f"tag-{count}"}])
            rate = (sender.started - before) / (time.monotonic() - began)
            yield Line(f"tag matching {count}, one request at a time", rate, "start/s", base, rate / base)
    daemon.stop()


def rest(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure callers that wait for their answers, over REST and over MQTT beside it."""
    port = callers.free_port()
    daemon = place.daemon(restServerConfig={"enable": True, "serverPort": port})
    daemon.start()
    with Sender(place.broker.port) as sender:
        warm_up(sender, place)
        for count in (1, scale.callers):
            mqtt = callers.over_mqtt(sender, place.tasks, callers=count, seconds=scale.calling)
            quiet(daemon)
            times = callers.over_rest(port, place.tasks, callers=count, seconds=scale.calling)
            quiet(daemon)
            rates = len(times) / scale.calling, len(mqtt) / scale.calling
            yield Line(f"REST, {count} callers", rates[0], "answer/s", rates[1], rates[0] / rates[1])
            for percent in (50, 99):
                value, base = percentile(times, percent), percentile(mqtt, percent)
                name = f"  POST to answer (bare: PUBLISH to reply), p{percent}"
                yield Line(name, value, "ms", base, value / base)
    daemon.stop()


def served(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure starts at a server that takes 20 and 50 ms, 4 and 16 at a time."""
    yield from serving.lines(place, scale.burst, scale.rounds, quiet)


def rules(place: Place, scale: Scale) -> Iterator[Line]:
    """Measure starts beside 100 rules and beside a flood on their topics, and a rule's own decision."""
    yield from ruled.lines(place, scale.burst, scale.rounds, scale.flood, quiet)


PARTS: dict[str, Callable[[Place, Scale], Iterator[Line]]] = {
    "burst": burst,
    "served": served,
    "latency": latency,
    "memory": memory,
    "ready": ready,
    "journal": journal,
    "tags": tags,
    "rest": rest,
    "rules": rules,
}


def warm_up(sender: Sender, place: Place) -> None:
    """Let every connection be there before anything is measured."""
    sender.burst({"taskId": task} for task in place.tasks[-20:])


def quiet(daemon: Daemon, seconds: float = 60.0) -> None:
    """Wait until the daemon has published all ends and has nothing left to publish."""
    deadline = time.monotonic() + seconds
    while filling.count_open(daemon.journal):
        assert time.monotonic() < deadline, "the daemon does not come to rest"
        threading.Event().wait(0.2)


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the value that *percent* of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(len(ordered) * percent / 100))]


def main() -> int:
    """Run the parts asked for; exits with 1 when a target is missed or a part fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there; - prints them")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and journals")
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    scale = QUICK if given.quick else Scale()
    report = Report()
    with Place(tasks=scale.burst + 100, keep=given.keep) as place:
        if given.keep:
            print(f"everything is kept in {place.folder}")
        report.header()
        for name in given.parts or PARTS:
            try:
                report.add(PARTS[name](place, scale))
            except AssertionError as error:
                report.failed[name] = str(error)
                print(f"{name} failed: {error}", flush=True)
    if given.json == Path("-"):
        print(report.as_json())
    elif given.json is not None:
        given.json.write_text(report.as_json())
    return 1 if report.failed or any(line.met is False for line in report.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
