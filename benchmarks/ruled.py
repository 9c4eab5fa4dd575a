"""What rules cost: a start message beside 100 of them, a decision, and a flood on their topics."""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Taken:
    """What a burst took: seconds, the daemon's processor time, and messages judged meanwhile."""

    seconds: float
    cpu: float
    judged: int = 0


def lines(
    place: Place, burst: int, rounds: int, flood: int, quiet: Callable[[Daemon], None]
) -> Iterator[Line]:
    """Measure, each comparison in turns, so that a machine that is busy for a while is so for both."""
    yield _decision()
    yield from _beside(place, burst, 2 * rounds - 1, quiet)
    yield from _flooded(place, burst, 2 * rounds - 1, flood, quiet)


def _beside(place: Place, burst: int, rounds: int, quiet: Callable[[Daemon], None]) -> Iterator[Line]:
    """Measure bursts beside rules that no message comes for."""
    tasks = place.tasks[:burst]
    plain, ruled = place.daemon(), place.daemon().rule(rules(tasks[0]))
    taken: dict[Daemon, list[_Taken]] = {plain: [], ruled: []}
    for number in range(rounds):
        # Each is the first as often as the other.
        for daemon in (plain, ruled)[:: 1 if number % 2 else -1]:
            _start(daemon, with_rules=daemon is ruled)
            taken[daemon].append(_burst(place, daemon, tasks))
            quiet(daemon)
            daemon.stop()
    without, beside = (
        burst / statistics.median(one.seconds for one in taken[each]) for each in (plain, ruled)
    )
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
    yield _processor_time("", taken[ruled], taken[plain], burst)


def _flooded(
    place: Place, burst: int, rounds: int, flood: int, quiet: Callable[[Daemon], None]
) -> Iterator[Line]:
    """Measure bursts while *flood* messages, published at once, come for nobody and for rules."""
    tasks = place.tasks[:burst]
    daemon = place.daemon().rule(rules(tasks[0]))
    _start(daemon, with_rules=True)
    taken: dict[str, list[_Taken]] = {OTHERS: [], FOR_RULES: []}
    alone, before = [], 0.0
    for number in range(rounds):
        alone.append(_burst(place, daemon, tasks))
        quiet(daemon)
        for topic in (OTHERS, FOR_RULES)[:: 1 if number % 2 else -1]:
            if topic == FOR_RULES and number == rounds - 1:
                # What the first thousands of requests need for good is not the flood's.
                before = daemon.rss()
            known = _judged(daemon)
            with _flood(place, flood, topic):
                taken[topic].append(_burst(place, daemon, tasks))
            # What is not judged yet would be the next burst's.
            if topic == FOR_RULES:
                _until_judged(daemon, known + flood)
            quiet(daemon)
    growth = daemon.rss() - before
    daemon.stop()
    base = statistics.median(one.seconds for one in alone)
    for topic, name in ((OTHERS, "no rule"), (FOR_RULES, "rules")):
        value = statistics.median(one.seconds for one in taken[topic])
        yield Line(f"burst of {burst} while {flood} messages come for {name}", value, "s", base, value / base)
    # The broker and the sender of a flood need the same CPUs, whoever is to get it.
    ratio = statistics.median(
        ours.seconds / bare.seconds for ours, bare in zip(taken[FOR_RULES], taken[OTHERS], strict=True)
    )
    yield Line(
        "  the second beside the first, pairs", value, "s", value / ratio, ratio, *_at_most(DELAY, ratio)
    )
    yield _processor_time("  ", taken[FOR_RULES], taken[OTHERS], burst)
    judged = statistics.median(one.judged for one in taken[FOR_RULES])
    yield Line("  messages judged during the burst", judged, "")
    yield Line("  growth of RSS by it", growth, "MB", None, None, *_at_most(GROWTH, growth))


def _processor_time(indent: str, ours: Sequence[_Taken], bare: Sequence[_Taken], burst: int) -> Line:
    """Compare the daemon's processor time, which a busy machine changes less than the time by the clock."""
    ratio = statistics.median(one.cpu / other.cpu for one, other in zip(ours, bare, strict=True))
    value, base = (statistics.median(one.cpu for one in each) / burst * 1000 for each in (ours, bare))
    return Line(f"{indent}  processor time of the daemon for each request, pairs", value, "ms", base, ratio)


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


def _burst(place: Place, daemon: Daemon, tasks: list[str]) -> _Taken:
    with Sender(place.broker.port) as sender:
        sender.burst({"taskId": task} for task in place.tasks[-20:])
        known, before = _judged(daemon), daemon.cpu()
        seconds = sender.burst({"taskId": task} for task in tasks)
        return _Taken(seconds, daemon.cpu() - before, _judged(daemon) - known)


def _judged(daemon: Daemon) -> int:
    """Count the messages that rules have judged; each of the flood by one rule."""
    with closing(sqlite3.connect(f"file:{daemon.journal}?mode=ro", uri=True, timeout=10)) as connection:
        count: int = connection.execute("SELECT coalesce(sum(unmatched), 0) FROM rule_counts").fetchone()[0]
    return count


def _until_judged(daemon: Daemon, count: int, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while (judged := _judged(daemon)) < count:
        assert time.monotonic() < deadline, f"{judged} of {count} messages were judged"
        threading.Event().wait(0.1)


@contextmanager
def _flood(place: Place, count: int, topic: str) -> Iterator[None]:
    """Publish *count* messages as quickly as the broker takes them, beside the block."""
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(place.broker.port), "-V", "5", "-q", "1"]
    text = "\n".join([json.dumps(ORDER)] * count)
    publisher = subprocess.Popen([*command, "-t", topic, "-l"], stdin=subprocess.PIPE, text=True)
    assert publisher.stdin is not None
    try:
        publisher.stdin.write(text)
        publisher.stdin.close()
        yield
        assert publisher.wait(60) == 0, "mosquitto_pub could not publish all"
    finally:
        publisher.kill()
        publisher.wait(10)
