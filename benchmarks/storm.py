"""
`python -m benchmarks.storm`: far more at once than can be done, and what becomes of it.

Storms: `server` (the Qlik server is away, then back), `broker` (the broker is
away, senders queue), `duplicates` (each request 50 times), `late` (past
expiresAt, maxAgeSeconds, requestDeadlineSeconds). 50 senders each. Every
delivery must be answered, no start repeated, memory bounded and flat, the order
of each task's requests kept, every task given its turn, and no more POSTs at a
time than `maxConcurrentStarts`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import claims
from benchmarks.account import Account, balance
from benchmarks.deliveries import Deliveries, Delivery
from benchmarks.filling import count_open
from benchmarks.rig import Daemon, Server, rss
from tests.brokers import Mosquitto

SENDERS = 50
COPIES = 50
TASKS = 2000
#: POSTs at a time, and how long each of the first takes at the server, to see that.
AT_A_TIME = 4
SLOW_POSTS = 400
SLOW_SECONDS = 0.05
#: MB that the daemon may have at most, whatever waits.
MEMORY = 150.0
#: MB by which the last third of a storm may have more than the one before.
GROWTH = 15.0
REST_SECONDS = 3600.0
#: Seconds between two lines of progress.
PROGRESS_SECONDS = 10.0
#: The broker writes its store when it is asked to end, and seldom besides: after each change, with a hundred
#: thousand messages in it, it would do nothing else.
STORE = "persistence true\npersistence_location {}/\nautosave_on_changes false\nautosave_interval 600"


@dataclass
class Storm:
    """A broker, a Qlik stand-in, a daemon and 50 senders; `samples` are seconds and MB of the daemon."""

    folder: Path
    broker: Mosquitto
    server: Server
    daemon: Daemon
    senders: list[Deliveries]
    tasks: list[str]
    samples: list[tuple[float, float]] = field(default_factory=list)
    sent: int = 0
    #: Whether the folder stays.
    keep: bool = True

    @property
    def all(self) -> list[Delivery]:
        """Give all deliveries, in the order of each sender."""
        return [one for sender in self.senders for one in sender.all]

    @property
    def open(self) -> int:
        """Count the deliveries without a reply."""
        return sum(sender.open for sender in self.senders)

    def send(self, count: int, body: Callable[[int], dict[str, object]], *, copies: int = 1) -> None:
        """Publish *count* requests, each *copies* times by different senders."""
        for number in range(count):
            task = self.tasks[number % len(self.tasks)]
            for copy in range(copies):
                sender = self.senders[(number + copy) % len(self.senders)]
                sender.send(number, task, {"taskId": task, **body(number)})
                self.sent += 1

    def taken(self, count: int) -> None:
        """Wait until so many deliveries are in the journal."""
        self._until(lambda: self._stored() >= count, "stored")

    def answered(self) -> None:
        """Wait until every delivery has a reply and the daemon is at rest."""
        self._until(lambda: not self.open and not count_open(self.daemon.journal), "answered")

    def _stored(self) -> int:
        return _number(self.daemon.journal, "SELECT max(id) FROM deliveries")

    def _until(self, fact: Callable[[], bool], what: str) -> None:
        began = said = time.monotonic()
        while not fact():
            now = time.monotonic()
            assert self.daemon.running, f"the daemon ended:\n{self.daemon.log()[-2000:]}"
            assert now < began + REST_SECONDS, f"not all are {what}; {self.folder}"
            if now >= said + PROGRESS_SECONDS:
                said = now
                print(
                    f"  {now - began:5.0f} s: {self.sent} sent, {self._stored()} stored, "
                    f"{self.sent - self.open} answered, {self.samples[-1][1]:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(0.25)


@contextmanager
def storm(**sections: dict[str, object]) -> Iterator[Storm]:
    """Build everything; the folder stays when something fails."""
    folder = Path(tempfile.mkdtemp(prefix="butler-storm-"))
    site = {
        "nodes": [{"name": "Central", "maxConcurrentEngines": 100_000}],
        "generate": [{"name": "Task {n}", "count": TASKS, "durationSeconds": 0}],
    }
    with ExitStack() as stack:
        extra = "log_type none\nmax_queued_messages 0\nmax_inflight_messages 200\n"
        extra += STORE.format(folder / "broker")
        broker = stack.enter_context(Mosquitto(folder / "broker", extra=extra))
        server = Server(folder / "server", site, ledger=folder / "ledger.jsonl")
        stack.callback(server.close)
        # It keeps the newest 10,000, and the daemon learns of ends while it has nothing to start.
        server.admin("PUT", "/switches", {"resultsKept": 10_000_000})
        daemon = Daemon(folder / "daemon", broker.port, server, **sections)
        stack.callback(daemon.kill)
        senders = [
            stack.enter_context(Deliveries(broker.port, f"sender-{number}", inflight=0))
            for number in range(SENDERS)
        ]
        made = Storm(folder, broker, server, daemon, senders, server.tasks("Task "))
        daemon.start()
        stack.enter_context(_sampling(made))
        yield made
    if made.keep:
        print(f"everything is kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sampling(made: Storm) -> Iterator[None]:
    stop = threading.Event()
    began = time.monotonic()

    def sample() -> None:
        while not stop.wait(0.5):
            if made.daemon.running:
                made.samples.append((time.monotonic() - began, rss(made.daemon.pid)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def server(count: int) -> Account:
    """Publish while the Qlik server is away, then let it come back."""
    with storm() as made:
        made.server.admin("PUT", "/switches", {"listener": "refuse"})
        made.send(count, _named)
        made.taken(count)
        waiting = rss(made.daemon.pid)
        _slow_posts(made, count)
        began = time.monotonic()
        made.server.admin("PUT", "/switches", {"listener": "up"})
        made.answered()
        rate = count / (time.monotonic() - began)
        account = _settled(made, shared=True)
        account.numbers["MB with all of them waiting"] = round(waiting)
        account.numbers["answered per second, after it was back"] = round(rate)
        return account


def broker(count: int) -> Account:
    """Let senders queue while the broker is away, then let it come back."""
    with storm() as made:
        made.broker.stop()
        made.send(count, _named)
        _slow_posts(made, count)
        made.broker.start()
        made.answered()
        return _settled(made, shared=True)


def duplicates(count: int) -> Account:
    """Publish each request fifty times, from fifty senders."""
    with storm() as made:
        requests = min(TASKS, max(1, count // COPIES))
        _slow_posts(made, requests)
        made.send(requests, _named, copies=COPIES)
        made.answered()
        return _settled(made, shared=False)


def late(count: int) -> Account:
    """Publish requests that come too late in one way or another, while the Qlik server stays away."""
    ways = ("expiresAt", "issuedAt", "requestDeadlineSeconds")
    with storm(startTask={"requestDeadlineSeconds": 5, "maxAgeSeconds": 60}) as made:
        made.server.admin("PUT", "/switches", {"listener": "refuse"})

        def body(number: int) -> dict[str, object]:
            way = ways[number % 3]
            moment = datetime.now(UTC)
            if way == "expiresAt":
                return {**_named(number), way: (moment + timedelta(seconds=2)).isoformat()}
            if way == "issuedAt":
                return {**_named(number), way: (moment - timedelta(seconds=61)).isoformat()}
            return _named(number)

        made.send(count, body)
        made.answered()
        account = Account()
        codes: Counter[tuple[str, str]] = Counter()
        for one in made.all:
            for payload, times in one.replies.items():
                codes[ways[one.request % 3], json.loads(payload).get("code", "none")] += times
        expected = {
            ("expiresAt", "expired"),
            ("issuedAt", "expired"),
            ("requestDeadlineSeconds", "qrs_unavailable"),
        }
        for (way, code), times in codes.items():
            account.numbers[f"too late by {way}: {code}"] = times
            if (way, code) not in expected:
                account.faults.append(f"too late by {way} was answered with {code}, {times} times")
        if sum(codes.values()) != count:
            account.faults.append(f"{sum(codes.values())} replies to {count} deliveries")
        if (made.folder / "ledger.jsonl").read_text():
            account.faults.append("something was started")
        _memory(made, account)
        made.keep = bool(account.faults)
        return account


STORMS: dict[str, Callable[[int], Account]] = {
    "server": server,
    "broker": broker,
    "duplicates": duplicates,
    "late": late,
}


def _named(number: int) -> dict[str, object]:
    return {"requestId": f"storm-{number}"}


def _settled(made: Storm, *, shared: bool) -> Account:
    account = balance(
        made.all, made.daemon.journal, made.folder / "ledger.jsonl", shared=shared, repeated=False
    )
    account.faults += claims.order(made.daemon.journal)
    account.faults += claims.turns(made.daemon.journal, len(made.tasks), account)
    moments = [moment / 1e9 for moment, _ in made.server.posts()][:SLOW_POSTS]
    account.faults += claims.pace(moments, SLOW_SECONDS, AT_A_TIME, account)
    account.faults += [f"stray reply {one!r}" for sender in made.senders for one in sender.strays]
    _memory(made, account)
    made.keep = bool(account.faults)
    return account


def _memory(made: Storm, account: Account) -> None:
    step = max(1, len(made.samples) // 12)
    curve = " ".join(f"{seconds:.0f}s:{size:.0f}" for seconds, size in made.samples[::step])
    print(f"\rmemory of the daemon, MB: {curve}")
    most = max((size for _, size in made.samples), default=0.0)
    account.numbers["MB at most"] = round(most)
    if most > MEMORY:
        account.faults.append(f"the daemon had {most:.0f} MB, more than {MEMORY:.0f}")
    third = len(made.samples) // 3
    if third:
        before, last = (
            max(size for _, size in part) for part in (made.samples[third:-third], made.samples[-third:])
        )
        account.numbers["MB at most in the last third of the time"] = round(last)
        if last > before + GROWTH:
            account.faults.append(f"the daemon grew from {before:.0f} to {last:.0f} MB in the last third")


def _slow_posts(made: Storm, count: int) -> None:
    slow = {"kind": "slow", "when": "before", "seconds": SLOW_SECONDS, "count": min(count, SLOW_POSTS)}
    made.server.admin("POST", "/faults", {"method": "POST", "path": "/qrs/task/*", **slow})


def _number(journal: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10)) as connection:
        return int(connection.execute(query).fetchone()[0] or 0)


def main() -> int:
    """Run the storms asked for; exits with 1 when one does not add up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("storms", nargs="*", metavar="STORM", help=f"of {', '.join(STORMS)} (all)")
    parser.add_argument("--requests", type=int, default=100_000)
    given = parser.parse_args()
    unknown = [name for name in given.storms if name not in STORMS]
    if unknown:
        parser.error(f"no storm {unknown[0]!r}; there are {', '.join(STORMS)}")
    failed = False
    for name in given.storms or STORMS:
        began = time.monotonic()
        print(f"{name}, {given.requests} deliveries", flush=True)
        try:
            account = STORMS[name](given.requests)
        except AssertionError as error:  # the next storm has nothing to do with it
            account = Account(faults=[f"broken off: {error}"])
        print(f"{name}, {given.requests} deliveries, {time.monotonic() - began:.0f} s")
        print(account.text())
        print("  everything adds up" if not account.faults else "  IT DOES NOT ADD UP", flush=True)
        failed = failed or bool(account.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
