"""
`python -m benchmarks.redelivery`: requests without an id, whose acknowledgements the broker loses.

Each of `--requests` requests is for a task of its own and has no `requestId`,
so that only the broker's own redelivery can be recognised. Disturbances: `none`;
`daemon` (SIGKILL at each fifth of the way and after all are acknowledged);
`restart` and `kill` (SIGTERM and SIGKILL of the broker, its senders waiting);
`slow` (acknowledgements stay on the way and go with the connection). Brokers:
`ours` has what mosquitto/mosquitto.conf says of its store and queues, a store
written at each change; `second` the same with a store written once a second;
`defaults` what mosquitto does by itself, with persistence. Each task must be
started once, and each request answered.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.account import Account, balance
from benchmarks.deliveries import Deliveries
from benchmarks.filling import count_open
from benchmarks.rig import Daemon, Server, batches
from tests.acceptance.relay import Relay
from tests.brokers import Mosquitto

CONFIGURATION = Path(__file__).parents[1] / "mosquitto" / "mosquitto.conf"
#: What of it is about keeping messages, not about who may come in.
_KEEPING = ("autosave_", "max_", "message_size_limit", "set_tcp_nodelay")
DEFAULT_QUEUE = 1000
PARTS = 5
#: A series of shorter connections looks like a second daemon with the same client id; and mosquitto has
#: written its store by then.
SETTLED_SECONDS = 6.0
REST_SECONDS = 900.0
#: No message for so long: the broker has nothing more for us.
QUIET_SECONDS = 3.0


def keeping() -> str:
    """Give the lines of our mosquitto.conf that say what is kept and how."""
    lines = CONFIGURATION.read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith(_KEEPING))


BROKERS: dict[str, Callable[[], str]] = {
    "ours": keeping,
    "second": lambda: f"{keeping()}\nautosave_on_changes false",
    "defaults": lambda: "",
}
DISTURBANCES = ("none", "daemon", "restart", "kill", "slow")


@dataclass
class Scene:
    """Everything that takes part."""

    broker: Mosquitto
    relay: Relay
    daemon: Daemon
    sender: Deliveries
    tasks: list[str]
    #: Requests that may be under way at a time; 0 is no limit.
    window: int

    def send(self, tasks: list[str]) -> None:
        """Publish a request for each of *tasks*, no more at a time than the broker keeps."""
        for task in tasks:
            if self.window:
                self.until(lambda: self.sender.open < self.window, "answered")
            self.sender.send(len(self.sender.all), task, {"taskId": task})

    def disturb(self, how: str) -> None:
        """Do one disturbance."""
        if how == "daemon":
            self.daemon.kill()
            self.daemon.start()
        elif how in {"restart", "kill"}:
            # What the broker has not acknowledged the sender repeats, which makes another message of it.
            self.until(lambda: self.sender.taken == len(self.sender.all), "with the broker")
            time.sleep(SETTLED_SECONDS)
            (self.broker.stop if how == "restart" else self.broker.kill)()
            self.broker.start()
        elif how == "slow":
            self.relay.hold_up()
            time.sleep(SETTLED_SECONDS)
            self.relay.cut()
            self.relay.flow()

    def until(self, fact: Callable[[], bool], what: str) -> None:
        """Wait for *fact*; AssertionError when it takes too long."""
        deadline = time.monotonic() + REST_SECONDS
        while not fact():
            assert self.daemon.running, f"the daemon ended:\n{self.daemon.log()[-2000:]}"
            assert time.monotonic() < deadline, f"not all are {what}"
            time.sleep(0.02)

    def at_rest(self) -> None:
        """Wait until everything is answered and the broker delivers nothing any more."""
        end = self.daemon.log_end()
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS:
            self.until(lambda: not self.sender.open and not count_open(self.daemon.journal), "answered")
            now = self.daemon.log_end()
            if now != end:
                end, quiet_since = now, time.monotonic()
            time.sleep(0.1)


def run(requests: int, broker: str, disturbance: str, *, parts: int = PARTS) -> Account:
    """Send so many requests in so many parts, disturb after each and in the end, and add up."""
    folder = Path(tempfile.mkdtemp(prefix="butler-redelivery-"))
    with ExitStack() as stack:
        extra = f"log_type none\npersistence true\npersistence_location {folder / 'broker'}/\n"
        made = stack.enter_context(Mosquitto(folder / "broker", extra=extra + BROKERS[broker]()))
        generate = [{"name": "Task {n}", "count": requests, "durationSeconds": 0}]
        nodes = [{"name": "Central", "maxConcurrentEngines": 100_000}]
        site = {"nodes": nodes, "generate": generate}
        server = Server(folder / "server", site, ledger=folder / "ledger.jsonl")
        stack.callback(server.close)
        server.admin("PUT", "/switches", {"resultsKept": 10_000_000})
        relay = stack.enter_context(Relay(made.port))
        daemon = Daemon(folder / "daemon", relay.port, server)
        stack.callback(daemon.kill)
        sender = stack.enter_context(Deliveries(made.port, "sender", inflight=0))
        window = DEFAULT_QUEUE // 2 if broker == "defaults" else 0
        scene = Scene(made, relay, daemon, sender, server.tasks("Task "), window)
        daemon.start()
        began = time.monotonic()
        size = -(-requests // parts)
        for part in batches(scene.tasks, size):
            scene.send(part)
            scene.disturb(disturbance)
        scene.until(lambda: not sender.open, "answered")
        seconds = time.monotonic() - began
        scene.disturb(disturbance)
        scene.at_rest()
        account = balance(sender.all, daemon.journal, folder / "ledger.jsonl", shared=False, repeated=False)
        account.numbers["seconds until all were answered"] = round(seconds)
        account.numbers["redeliveries recognised"] = daemon.log().count("was delivered again by the broker")
        started = Counter(
            json.loads(line)["taskId"] for line in (folder / "ledger.jsonl").read_text().splitlines()
        )
        account.numbers["tasks started more than once"] = sum(count > 1 for count in started.values())
        account.faults += [f"stray reply {one!r}" for one in sender.strays]
    if account.faults:
        print(f"everything is kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return account


def main() -> int:
    """Run what is asked for; exits with 1 when one does not add up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redelivery", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--brokers", nargs="+", choices=list(BROKERS), default=["ours", "defaults"])
    parser.add_argument("--disturbances", nargs="+", choices=DISTURBANCES, default=list(DISTURBANCES))
    given = parser.parse_args()
    failed = False
    for broker, disturbance in itertools.product(given.brokers, given.disturbances):
        if (broker, disturbance) == ("defaults", "kill"):
            continue  # it writes its store every 30 minutes, and loses all that came since
        print(f"broker {broker}, disturbance {disturbance}, {given.requests} requests", flush=True)
        account = run(given.requests, broker, disturbance)
        print(account.text())
        print("  everything adds up" if not account.faults else "  IT DOES NOT ADD UP", flush=True)
        failed = failed or bool(account.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
