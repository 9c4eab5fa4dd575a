"""
`python -m benchmarks.chaos --kills N --seed S`: kills under load and faults; at the end the books add up.

The installed daemon and the broker are killed with SIGKILL, alone and
together, at random and right after each step of a request's way; the Qlik
stand-in fails in all ways it knows. Then all faults are taken out, all has to come
to rest, and what was sent, answered and started is counted.

The seed repeats every choice; what the machine makes of it differs each time.
Several runs may go on beside each other. Each writes its summary to a file;
`--table FILE…` prints those of several runs as the table of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import moments, summary
from benchmarks.account import Account, balance
from benchmarks.deliveries import Deliveries
from benchmarks.faults import READ_FAULTS, READ_SHARE, START_FAULTS, START_SHARE, wrong_clocks
from benchmarks.filling import count_open
from benchmarks.rig import Daemon, Server
from tests.brokers import Mosquitto, free_port

#: Requests for each kill, and shared tasks in that mode.
PER_KILL = 10
SHARED_TASKS = 25
#: Kills between two changes of the faults.
FAULT_PERIOD = 20
#: Kills between two lines of progress.
PROGRESS_KILLS = 25
#: No reply for so long, after the faults were taken out: the sender repeats, if the broker may have lost it.
PATIENCE_SECONDS = 12.0
#: Nothing came to rest for so long, in the end: it will not.
REST_SECONDS = 240.0
#: Tries to start the broker again.
BROKER_TRIES = 10


@dataclass
class Plan:
    """
    What to do: so many kills with this seed; `broker` whether the broker is killed too.

    `skew`: up to so many seconds the clocks of nodes, and the `Date` header's age, are off.
    `jumps`: the clock of the daemon's machine jumps days ahead and back.
    """

    kills: int
    seed: int
    shared: bool = False
    broker: bool = True
    keep: bool = False
    skew: float = 0.0
    jumps: bool = False


@dataclass
class Result:
    """What happened; `folder` is None where nothing was kept."""

    plan: Plan
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)
    account: Account = field(default_factory=Account)
    folder: Path | None = None

    def text(self) -> str:
        """Give it as lines."""
        lines = [summary.headline(self.numbers())]
        lines += [f"  killed {name:<37} {count:>8}" for name, count in self.killed.most_common()]
        lines.append(self.account.text())
        faults = self.account.faults
        lines.append(f"IT DOES NOT ADD UP, see {self.folder}" if faults else "everything adds up")
        return "\n".join(lines)

    def numbers(self) -> dict[str, Any]:
        """Give all of it for `summary`."""
        plan = self.plan
        return {
            "seed": plan.seed,
            "kills": plan.kills,
            "tasks": f"{SHARED_TASKS} for all" if plan.shared else "one for each request",
            "victims": "daemon and broker" if plan.broker else "daemon",
            "clocks": _clocks(plan),
            "seconds": round(self.seconds),
            "killed": dict(self.killed.most_common()),
            "numbers": self.account.numbers,
            "faults": self.account.faults,
        }


class Chaos:
    """One run; `run` does all of it."""

    def __init__(self, plan: Plan, *, progress: bool = True) -> None:
        self._plan = plan
        self._progress = progress
        self._chance = random.Random(plan.seed)  # noqa: S311 -- repeatable on purpose
        self.result = Result(plan)
        self._may_send = threading.Semaphore(0)
        self._stop = threading.Event()
        #: Ends of the daemon that nobody ordered.
        self._deaths: list[str] = []
        self._killed = False
        self._end_of_last = 0

    def run(self) -> Result:
        """Do it and add up; the folder stays when something is wrong."""
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"butler-chaos-{self._plan.seed}-"))
        try:
            with ExitStack() as stack:
                self._build(folder, stack)
                self._go(stack)
        except BaseException as error:
            print(f"seed {self._plan.seed}: broken off; everything is kept in {folder}", file=sys.stderr)
            self.result.seconds = time.monotonic() - began
            self.result.account.faults.append(f"broken off: {type(error).__name__}: {error}")
            raise
        self.result.seconds = time.monotonic() - began
        if self.result.account.faults or self._plan.keep:
            self.result.folder = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return self.result

    def _build(self, folder: Path, stack: ExitStack) -> None:
        plan = self._plan
        count = SHARED_TASKS if plan.shared else plan.kills * PER_KILL
        quiet = "log_type none\nmax_queued_messages 0\nmax_inflight_messages 200"
        site = {
            "nodes": [{"name": "Central", "maxConcurrentEngines": 100_000}],
            "generate": [{"name": "Task {n}", "count": count, "durationSeconds": 0.2}],
        }
        self._broker = stack.enter_context(Mosquitto(folder / "broker", persistent=True, extra=quiet))
        self._ledger = folder / "ledger.jsonl"
        self._ledger.touch()
        self._server = Server(folder / "server", site, ledger=self._ledger, port=free_port())
        stack.callback(self._server.close)
        # It keeps the newest 10,000: too few for those that must be searched in the end.
        self._server.admin("PUT", "/switches", {"resultsKept": 10_000_000})
        self._tasks = self._server.tasks("Task ")
        self._daemon = Daemon(
            folder / "daemon",
            self._broker.port,
            self._server,
            configQRS={
                "connectTimeoutSeconds": 1,
                "readTimeoutSeconds": 1,
                "retry": {"attempts": 3, "maxSeconds": 3},
            },
        )
        stack.callback(self._daemon.kill)
        if plan.jumps:
            self._daemon.fake_time(folder / "faketime")
        self._deliveries = stack.enter_context(Deliveries(self._broker.port, f"chaos-{plan.seed}"))

    def _go(self, stack: ExitStack) -> None:
        sending = threading.Thread(target=self._send, name="sending")
        stack.callback(sending.join)
        stack.callback(self._stop.set)
        self._daemon.start()
        sending.start()
        for number in range(self._plan.kills):
            if number % FAULT_PERIOD == 0:
                self._change_faults()
            for _ in range(PER_KILL):
                self._may_send.release()
            self._kill()
            self._say(number + 1)
        self._server.admin("DELETE", "/faults")
        self._server.admin("PUT", "/switches", {"resultLagSeconds": 0, "listener": "up"})
        if self._plan.jumps:
            self._daemon.set_clock(0)
        sending.join(120)
        assert not sending.is_alive(), "the sender did not come to its end"
        self._come_to_rest()
        self.result.account = balance(
            self._deliveries.all,
            self._daemon.journal,
            self._ledger,
            shared=self._plan.shared,
            repeated=self._plan.broker,
        )
        bugs = [line for line in self._daemon.log().splitlines() if "action=bug" in line]
        self.result.account.faults += [f"logged: {line[:300]}" for line in bugs]
        self.result.account.faults += self._deaths
        self.result.account.faults += [
            f"a reply came with correlation data that nobody sent: {stray!r}"
            for stray in self._deliveries.strays
        ]

    # ---- what goes wrong

    def _change_faults(self) -> None:
        chance = self._chance
        self._server.admin("DELETE", "/faults")
        planted = []
        for kinds, share, where in (
            (START_FAULTS, START_SHARE, {"method": "POST", "path": "/qrs/task/*"}),
            (READ_FAULTS, READ_SHARE, {"method": "GET", "path": "/qrs/*"}),
        ):
            for kind in chance.sample(kinds, len(kinds) // 2 + 1):
                probability = chance.uniform(0.2, 1) * share
                seed = chance.randrange(10**9)
                planted.append({**where, **kind, "probability": probability, "count": None, "seed": seed})
        self._server.admin("POST", "/faults", planted)
        self._server.admin("PUT", "/switches", {"resultLagSeconds": chance.choice((0, 0, 0.3, 1.0))})
        if self._plan.skew:
            self._server.admin("PUT", "/switches", wrong_clocks(self._plan.skew, chance))

    def _kill(self) -> None:
        chance = self._chance
        since = self._end_of_last
        roll = chance.random()
        outage = chance.random() < 0.04
        if outage:
            self._server.admin("PUT", "/switches", {"listener": chance.choice(("refuse", "abort"))})
        if roll < 0.55:
            moment = moments.after_a_step(self._daemon, chance.choice(moments.STEPS), chance)
        elif roll < 0.75:
            moment = moments.after_a_line(self._daemon, chance.choice(moments.LINES), since, chance)
        else:
            moment = moments.at_random(chance)
        victim = chance.random() if self._plan.broker else 1.0
        if victim < 0.15:
            self._broker.kill()
            if victim < 0.05:
                self._kill_daemon()
                moment = f"broker and daemon, {moment}"
            else:
                moment = f"broker, {moment}"
            time.sleep(chance.uniform(0, 0.4))
            self._start_broker()
        else:
            self._kill_daemon()
        if outage:
            self._server.admin("PUT", "/switches", {"listener": "up"})
        if self._plan.jumps:
            # More than a day: so much, at a start, could also be a daemon that was off for long.
            self._daemon.set_clock(chance.choice((0, 0, 2, 40)))
        self.result.killed[moment.replace(", at random", " at random")] += 1
        self._start_daemon()

    def _start_broker(self) -> None:
        for _ in range(BROKER_TRIES - 1):
            try:
                self._broker.start()
            except AssertionError:
                # Its port may be held for a moment by a connection of the time before.
                self._broker.close()
                time.sleep(0.5)
            else:
                return
        self._broker.start()

    def _kill_daemon(self) -> None:
        if not self._daemon.running:
            self._deaths.append(f"the daemon ended by itself: {self._daemon.log(self._end_of_last)[-400:]}")
        self._daemon.kill()
        self._killed = True

    def _start_daemon(self) -> None:
        if not self._daemon.running:
            if not self._killed:
                log = self._daemon.log(self._end_of_last)
                self._deaths.append(f"the daemon ended by itself: {log[-400:]}")
            self._killed = False
            self._end_of_last = self._daemon.log_end()
            self._daemon.start(ready=False)

    # ---- the load

    def _send(self) -> None:
        """Publish requests as long as there are any to send; some several times, at once or later."""
        chance = random.Random(self._plan.seed + 1)  # noqa: S311 -- as above
        earlier: list[tuple[int, str, dict[str, object]]] = []
        for number in range(self._plan.kills * PER_KILL):
            while not self._may_send.acquire(timeout=0.1):
                if self._stop.is_set():
                    return
            task = self._tasks[number % len(self._tasks)]
            body: dict[str, object] = {"taskId": task}
            if self._plan.broker or chance.random() < 0.8:
                body["requestId"] = f"chaos-{number}"
                earlier = [*earlier[-200:], (number, task, body)]
            self._deliveries.send(number, task, body)
            if "requestId" in body and chance.random() < 0.1:
                self._deliveries.send(number, task, body)
            if earlier and chance.random() < 0.05:
                self._deliveries.send(*chance.choice(earlier))
            self._stop.wait(chance.uniform(0, 0.1))

    # ---- the end

    def _come_to_rest(self) -> None:
        moved = time.monotonic()
        left: tuple[int, int] | None = None
        self._deliveries.wait_from_now()
        while time.monotonic() < moved + REST_SECONDS:
            self._start_daemon()
            before, left = left, (self._deliveries.open, count_open(self._daemon.journal))
            if left == (0, 0):
                break
            if left != before:
                moved = time.monotonic()
            if self._plan.broker:
                self._deliveries.repeat(PATIENCE_SECONDS)
            time.sleep(0.2)
        self._say(self._plan.kills, end=True)

    def _say(self, kills: int, *, end: bool = False) -> None:
        if self._progress and (kills % PROGRESS_KILLS == 0 or end):
            sent, opened = len(self._deliveries.all), self._deliveries.open
            now = time.strftime("%H:%M:%S")
            print(
                f"{now} seed {self._plan.seed}: {kills} kills, {sent} deliveries, {opened} unanswered",
                file=sys.stderr,
                flush=True,
            )


def _clocks(plan: Plan) -> str:
    wrong = [f"nodes and Date up to {plan.skew:g} s"] if plan.skew else []
    return ", ".join(wrong + (["the daemon's up to 40 days"] if plan.jumps else [])) or "right"


def main() -> int:
    """Run once; exits with 1 when the books do not add up."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seed", type=int, default=None, help="repeats every choice (a new one)")
    parser.add_argument("--shared", action="store_true", help=f"all requests share {SHARED_TASKS} tasks")
    parser.add_argument("--daemon-only", action="store_true", help="leave the broker alone")
    parser.add_argument(
        "--skew", type=float, default=0.0, help="seconds by which clocks of nodes and Date are off (0)"
    )
    parser.add_argument("--jumps", action="store_true", help="the daemon's clock jumps days ahead and back")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    parser.add_argument(
        "--json", type=Path, help="where the summary goes (chaos-SEED.json among temporary files)"
    )
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="only print these summaries")
    given = parser.parse_args()
    if given.table:
        print(summary.table([json.loads(file.read_text()) for file in given.table]))
        return 0
    # So that nothing is left running: whoever ends us means the broker and the daemon too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    seed = int(time.time()) % 10**6 if given.seed is None else given.seed
    plan = Plan(given.kills, seed, given.shared, not given.daemon_only, given.keep, given.skew, given.jumps)
    file = given.json or Path(tempfile.gettempdir()) / f"chaos-{seed}.json"
    print(f"seed {seed}; the summary goes to {file}", flush=True)
    chaos = Chaos(plan)
    try:
        chaos.run()
    finally:
        file.write_text(json.dumps(chaos.result.numbers(), indent=1))
    print(chaos.result.text())
    return 1 if chaos.result.account.faults else 0


if __name__ == "__main__":
    sys.exit(main())
