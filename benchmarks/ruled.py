"""What rules cost: a start message beside 100 of them, a decision, and a flood on their topics."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.report import Line
from benchmarks.rig import Daemon, Place
from benchmarks.sender import Sender
from butler_mqtt.rules.message import RuleMessage
from butler_mqtt.rules.rule import Rule
from butler_mqtt.settings import RuleSettings

#: Rules beside which a start message is measured, and what it may cost more then.
RULES = 100
START_LOSS = 0.05
#: Milliseconds of one decision.
DECISION = 1.0
#: Times the seconds of a burst of starts beside a flood for nobody, while the flood is on the topics of
#: rules; and MB that it may add.
DELAY = 1.1
GROWTH = 5.0

#: Topics of a flood: one that a rule has, one that nobody has subscribed to.
FOR_RULES, OTHERS = "load/7/a", "others/7/a"

WHEN = 'payload.total > 1000 && payload.status == "closed"'
ORDER = {"total": 12, "status": "closed", "company": "North", "lines": [{"item": 1, "count": 2}] * 20}


def rules(task: str) -> list[dict[str, object]]:
    """Return the rules of a configuration; no message of the flood matches."""
    return [
        {"name": f"load-{number}", "topic": f"load/{number}/+", "when": WHEN, "start": {"taskId": task}}
        for number in range(RULES)
    ]


def lines(
    place: Place, burst: int, rounds: int, flood: int, quiet: Callable[[Daemon], None]
) -> Iterator[Line]:
    """Measure; *flood* messages are published at once."""
    yield _decision()
    tasks = place.tasks[:burst]
    plain, ruled = place.daemon(), place.daemon().rule(rules(tasks[0]))
    seconds: dict[Daemon, list[float]] = {plain: [], ruled: []}
    for _ in range(rounds):
        for daemon in (plain, ruled):
            _start(daemon, with_rules=daemon is ruled)
            seconds[daemon].append(_burst(place, tasks))
            quiet(daemon)
            daemon.stop()
    without, beside = (burst / statistics.median(seconds[one]) for one in (plain, ruled))
    least = 1 - START_LOSS
    yield Line(
        f"burst of {burst} beside {RULES} rules",
        beside,
        "reply/s",
        without,
        beside / without,
        f">= {least:g}",
        beside / without >= least,
    )
    _start(ruled, with_rules=True)
    alone, beside_others, flooded = [], [], []
    before = 0.0
    for number in range(rounds):
        alone.append(_burst(place, tasks))
        with _flood(place, flood, OTHERS):
            beside_others.append(_burst(place, tasks))
        quiet(ruled)
        # What the first thousands of requests need for good is not the flood's.
        before = ruled.rss() if number == rounds - 1 else before
        with _flood(place, flood, FOR_RULES):
            flooded.append(_burst(place, tasks))
        quiet(ruled)
    growth = ruled.rss() - before
    ruled.stop()
    base = statistics.median(alone)
    for name, times in (("no rule", beside_others), ("rules", flooded)):
        taken = statistics.median(times)
        yield Line(f"burst of {burst} while {flood} messages come for {name}", taken, "s", base, taken / base)
    others = statistics.median(beside_others)
    # The broker and the sender of a flood need the same CPUs, whoever is to get it.
    yield Line(
        "  the second beside the first", taken, "s", others, taken / others, *_at_most(DELAY, taken / others)
    )
    yield Line("  growth of RSS by it", growth, "MB", None, None, *_at_most(GROWTH, growth))


def _at_most(target: float, value: float) -> tuple[str, bool]:
    return f"<= {target:g}", value <= target


def _decision() -> Line:
    rule = Rule(RuleSettings("load", topics=("load/1/+",), when=WHEN, start={"tag": "x"}))
    message = RuleMessage(json.dumps(ORDER).encode(), "load/1/a", {}, 0)
    count = 2000
    began = time.perf_counter()
    for _ in range(count):
        rule.judge(message)
    spent = (time.perf_counter() - began) / count * 1000
    return Line("a rule's decision", spent, "ms", target=f"<= {DECISION:g}", met=spent <= DECISION)


def _start(daemon: Daemon, *, with_rules: bool) -> None:
    """Start the daemon; with rules until the last filter is subscribed to, which comes after requests."""
    mark = daemon.log_end()
    daemon.start()
    if with_rules:
        daemon.wait_log(f"subscribed to load/{RULES - 1}/+", since=mark)


def _burst(place: Place, tasks: list[str]) -> float:
    with Sender(place.broker.port) as sender:
        sender.burst({"taskId": task} for task in place.tasks[-20:])
        return sender.burst({"taskId": task} for task in tasks)


@contextmanager
def _flood(place: Place, count: int, topic: str) -> Iterator[None]:
    """Publish *count* messages as quickly as the broker takes them, until the block ends."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(place.broker.port), "-V", "5", "-q", "1"]
    text = "\n".join([json.dumps(ORDER)] * count)
    publisher = subprocess.Popen([*command, "-t", topic, "-l"], stdin=subprocess.PIPE, text=True)
    assert publisher.stdin is not None
    try:
        publisher.stdin.write(text)
        publisher.stdin.close()
        yield
    finally:
        publisher.kill()
        publisher.wait(10)
