"""
The whole core against its promises, with everything that can happen in any order.

Requests and repetitions arrive, the server fails before and after a start took
effect, the broker goes and comes, or loses the connection with acknowledgements
that it has not read, the journal fails, and the daemon is killed at any instant.
Nodes stamp executions by clocks up to a minute off, the server's `Date` may be
old, and the clock of the daemon's own machine jumps. In the end everything is
well again, and then:

- every message the broker was told of has exactly one delivery and its replies are the stored one;
- no request started a task twice, and no execution of ours is unknown to the journal;
- nothing is `unknown` that the server could tell;
- nothing was acknowledged or posted that was not on disk before.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import select

from butler_mqtt import clock
from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import reading_engine
from butler_mqtt.settings import MqttSettings, Settings, StartTask, StartTaskFilter
from tests.pipeline.any_order import FAULTS, AnythingHappens
from tests.pipeline.harness import SHORT_QLIK
from tests.pipeline.site_double import (
    DATE_AGES,
    NODE_CLOCKS,
    OUR_USER,
    Site,
    cut_and_overtaken,
    guid,
)

TASKS = ["Sales", "Stock", "Staff"]
STAFF = guid(3, 0xAAAA)
WISHES = [
    {"taskName": "Sales"},
    {"tag": "nightly"},
    {"taskName": ["Stock", "None such"]},
    {"taskName": ["Sales", "Staff"], "ifRunning": "skip"},
]
#: Open, and one that allows what is asked for, so that what waits is read again before each later POST.
GATES = [StartTaskFilter(), StartTaskFilter(enable=True, tags=("nightly",), task_ids=frozenset({STAFF}))]


class AnyOrder(AnythingHappens):
    """What can happen, and at the end what must be so."""

    def __init__(self) -> None:
        # Fewer than the broker may have left unread.
        super().__init__(
            Site(),
            Settings(mqtt=MqttSettings(receive_maximum=2)),
            qlik_timings=replace(SHORT_QLIK, cache_age=0.1, renewal_age=0.08),
        )
        #: Milliseconds by which the clock of the daemon's machine is ahead.
        self.clock_ahead = 0
        self.new_life()
        self.harness.broker.on_acknowledge = self.is_on_disk
        self.site.on_start = self.is_intended
        for name in TASKS:
            self.site.add(name, tags=("nightly",) if name != "Staff" else ())
        self.engine = reading_engine(self.harness.path)
        self.correlations: dict[int, bytes] = {}
        self.sent: set[bytes] = set()
        self.lost: set[bytes] = set()
        self.numbers = 0

    @initialize(
        clocks=NODE_CLOCKS, age=DATE_AGES, reloads=st.sampled_from([0, 0, 1]), gates=st.sampled_from(GATES)
    )
    def begin(self, clocks: tuple[float, ...], age: float, reloads: int, gates: StartTaskFilter) -> None:
        self.site.node_clocks = clocks
        self.site.date_age = age
        self.harness.settings = replace(
            self.harness.settings,
            start_task=StartTask(max_concurrent_reloads=reloads),
            start_task_filter=gates,
        )
        self.harness.start()

    def new_life(self) -> None:
        """Let a process that begins have its own idea of the time."""
        clock.STEADY.restart(lambda: time.time_ns() // 1_000_000 + self.clock_ahead)

    # ---- checked at every instant

    def is_on_disk(self, packet_id: int) -> None:
        correlation = self.correlations[packet_id]
        with self.engine.connect() as connection:
            query = select(tables.deliveries.c.id).where(tables.deliveries.c.correlation == correlation)
            if connection.execute(query).first() is None:
                self.broken.append("acknowledged before it was on disk")

    def is_intended(self, task: Task) -> None:
        with self.engine.connect() as connection:
            query = select(tables.runs.c.id).where(
                tables.runs.c.task_id == task.id, tables.runs.c.state == "intended"
            )
            if connection.execute(query).first() is None:
                self.broken.append("posted before the intent was on disk")

    # ---- senders and the broker

    @rule(
        wish=st.sampled_from(WISHES),
        request_id=st.sampled_from([None, None, "a", "b", "c"]),
        expiry=st.sampled_from([None, 3600]),
    )
    def send(self, wish: dict[str, Any], request_id: str | None, expiry: int | None) -> None:
        self.numbers += 1
        body = wish if request_id is None else {**wish, "requestId": request_id}
        name = str(self.numbers)
        self.sent.add(name.encode())
        message = self.publish(body, name, expiry_seconds=expiry)
        self.correlations[message.packet_id] = name.encode()

    @rule(
        wish=st.sampled_from(WISHES),
        request_id=st.sampled_from([None, "a"]),
        faults=st.lists(FAULTS, min_size=1, max_size=3),
    )
    def starts_meet(self, wish: dict[str, Any], request_id: str | None, faults: list[Any]) -> None:
        """A request comes whose starts fail in these ways; by chance they would seldom meet."""
        self.site.script.extend(faults)
        self.send(wish, request_id, None)
        for act in (self.turn, self.find, self.turn, self.post):
            act()

    @rule()
    def outcomes_are_read(self) -> None:
        """What is in doubt is looked at until two looks have shown nothing."""
        for _ in range(4):
            self.turn()
            self.snapshot()

    @rule()
    def reconnect(self) -> None:
        self.taken_back()
        self.harness.connect(present=True)
        self.redeliver()

    @rule()
    def broker_forgets(self) -> None:
        self.taken_back()
        self.lost |= {message.correlation or b"" for message in self.held.values()}
        self.held.clear()
        self.harness.connect(present=False)

    @rule()
    @precondition(lambda self: self.harness.broker.reads)
    def broker_reads_no_more(self) -> None:
        """Let what is acknowledged from now on lie in the broker's socket."""
        self.taken_back()
        self.harness.broker.reads = False

    @rule()
    def broker_reads(self) -> None:
        self.harness.broker.reads = True
        self.taken_back()
        self.harness.broker.read()

    def taken_back(self) -> None:
        if not self.harness.broker.reads:
            self.harness.broker.acknowledged.clear()
        super().taken_back()

    @rule()
    def confirm_one(self) -> None:
        for identity in list(self.harness.broker.in_flight)[-1:]:
            self.harness.broker.confirm(identity)

    @rule()
    def refuse_one(self) -> None:
        for identity in list(self.harness.broker.in_flight)[:1]:
            self.harness.broker.refuse(identity)

    @rule()
    def lose_replies(self) -> None:
        self.harness.broker.lose()

    # ---- the server

    @rule()
    def resolving_fails(self) -> None:
        self.site.resolve_errors.append(QlikUnavailable("connection refused"))

    @rule()
    def snapshot_fails(self) -> None:
        self.site.snapshot_errors.append(QlikUnavailable("connection refused"))

    @rule(task=st.sampled_from(["Sales", "Stock"]))
    def execution_is_overtaken(self, task: str) -> None:
        """A start's answer is lost; before anybody looks, its execution has ended and another runs."""
        self.site.script.append(cut_and_overtaken)
        self.send({"taskName": task}, None, None)
        for act in (self.turn, self.find, self.turn, self.post):
            act()

    @rule(data=st.data())
    def execution_ends(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.tasks)))

    # ---- the daemon

    @rule(days=st.sampled_from([-20_000, -40, 0, 0, 40]))
    def clock_is_set(self, days: int) -> None:
        """The clock of the machine jumps, and comes back."""
        self.clock_ahead = days * 86_400_000

    @rule()
    def crash(self) -> None:
        self.new_life()
        super().crash()

    # ---- when everything is well again

    def all_is_well(self) -> None:
        self.clock_ahead = 0
        self.reconnect()
        self.broker_reads()
        self.settle(lambda: not self.what_is_open())
        self.taken_back()
        assert not self.held, "not acknowledged"
        assert not self.broken
        self.check_deliveries()
        self.check_executions()

    def check_deliveries(self) -> None:
        harness = self.harness
        deliveries = harness.rows(tables.deliveries)
        counted = Counter(row["correlation"] for row in deliveries)
        assert set(counted) >= self.sent - self.lost, "a request is lost"
        assert set(counted.values()) <= {1}, "a redelivery was taken for a request"
        stored = {row["id"]: row for row in harness.rows(tables.requests)}
        assert {row["state"] for row in stored.values()} <= {"closed", "refused"}
        published: dict[int, set[bytes]] = defaultdict(set)
        for publication in harness.broker.published:
            if publication.delivery is not None:
                published[publication.delivery].add(publication.payload)
        for row in deliveries:
            assert row["answered_at"] is not None
            assert row["confirmed_at"] is not None
            assert published[row["id"]] == {stored[row["request"]]["reply"].encode()}
        holders = Counter(row["request_id"] for row in stored.values() if row["holds_id"])
        assert set(holders.values()) <= {1}

    def check_executions(self) -> None:
        harness = self.harness
        runs = harness.rows(tables.runs)
        starts = harness.rows(tables.starts)
        assert not harness.open_rows(), "a request has no reply"
        assert {row["state"] for row in runs} <= {"ended", "none"}
        states = {row["state"] for row in starts}
        assert states <= {"succeeded", "skipped"}, f"starts ended as {states}"
        assert all(self.may_skip(row["request"]) for row in starts if row["state"] == "skipped")
        assert len({(row["request"], row["task_id"]) for row in starts}) == len(starts)
        known = Counter(row["execution_id"] for row in runs if row["execution_id"] is not None)
        assert set(known.values()) <= {1}, "an execution belongs to two runs"
        for task_id, executions in self.site.history.items():
            ours = [one.id for one in executions if one.user == OUR_USER]
            found = set(ours)
            if any(self.site.node_clocks):
                # Stamps prove nothing then: one that another overtook before it was seen is not found.
                found -= {one.id for newer, one in pairwise(executions) if newer.user != OUR_USER}
            assert found <= set(known), "an execution of ours is unknown"
            asked = {
                row["request"] for row in starts if row["task_id"] == task_id and row["state"] == "succeeded"
            }
            assert len(ours) <= len(asked), "started more often than asked"

    def may_skip(self, request: int) -> bool:
        """Tell whether a request leaves a task alone that runs."""
        rows = {row["id"]: row for row in self.harness.rows(tables.requests)}
        return bool(json.loads(rows[request]["document"]).get("ifRunning") == "skip")


# Each example is a pipeline on a journal file.
AnyOrder.TestCase.settings = settings(max_examples=settings().max_examples // 5, stateful_step_count=30)
TestAnyOrder: Any = AnyOrder.TestCase
