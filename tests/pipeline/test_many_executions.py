"""Two thousand executions at once: how often the server is asked, and what is kept in memory."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from butler_mqtt.domain.completions import Completion, ExecutionsPolled
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.qrs.execution_lists import MAX_IDS
from butler_mqtt.starting import blocked_starts
from butler_mqtt.starting.blocked_starts import BlockedStarts
from butler_mqtt.starting.execution_poller import ExecutionPoller
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.node_clocks import NodeClocks
from tests.pipeline.site_double import guid

EXECUTIONS = 2000
TIMINGS = QlikTimings()


@dataclass
class Clock:
    """Time as the execution tracker sees it; the test moves it."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Server:
    """Shows every execution as running, and notes the times of the queries it would have got."""

    clock: Clock
    queries: list[tuple[float, int]] = field(default_factory=list)
    snapshots: dict[str, list[float]] = field(default_factory=dict)

    def executions(self, ids: Sequence[str]) -> dict[str, Execution | None]:
        self.queries.append((self.clock.now, math.ceil(len(ids) / MAX_IDS)))
        for one in ids:
            self.snapshots.setdefault(one, []).append(self.clock.now)
        return {one: Execution(one, None, None, 2, session=True) for one in ids}

    def script_log(self, task_id: str, execution: Execution, lines: int) -> list[str] | None:
        raise AssertionError(f"nothing fails here: {task_id}, {execution}, {lines}")

    def capacity(self) -> int:
        return 0

    def asked(self, since: float, until: float) -> int:
        return sum(queries for moment, queries in self.queries if since <= moment < until)


@dataclass
class Tracking:
    """An execution tracker on a clock of its own, whose polls are carried out at once."""

    clock: Clock
    server: Server
    tracker: ExecutionTracker
    poller: ExecutionPoller
    events: list[Completion]

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.tracker.poll()
            self.poller.stop()
            self.poller.work(self.server)
            for event in self.events:
                assert isinstance(event, ExecutionsPolled)
                self.tracker.polled(event)
            self.events.clear()
            self.clock.now += 0.2


@pytest.fixture
def tracking() -> Tracking:
    clock = Clock()
    events: list[Completion] = []
    poller = ExecutionPoller(events.append, log_lines=20, monotonic=clock.monotonic)
    made = ExecutionTracker(
        Ledger(UnitOfWork()),
        poller,
        BlockedStarts(blind_retry=10.0),
        NodeClocks(),
        TIMINGS,
        monotonic=clock.monotonic,
    )
    return Tracking(clock, Server(clock), made, poller, events)


def track_many(tracking: Tracking, *, over: float = 0.0, waited_for: bool = False) -> list[str]:
    """Let executions begin over so many seconds."""
    ids = [guid(number, 0xEEEE) for number in range(EXECUTIONS)]
    for place, one in enumerate(ids):
        task = Task(guid(place, 0xAAAA), f"Task {place}", 0)
        if waited_for:
            tracking.tracker.wait_for(one, task)
        else:
            # No run: what the ledger would write is not the matter here.
            tracking.tracker.track(one, task, None, [], set())
        if over and place % 10 == 0:
            tracking.run(10 * over / EXECUTIONS)
    return ids


@pytest.mark.parametrize(("waited_for", "most"), [(False, 30.0), (True, 10.0)])
def test_pauses_keep_to_their_bounds(tracking: Tracking, waited_for: bool, most: float) -> None:
    ids = track_many(tracking, over=60, waited_for=waited_for)
    tracking.run(600)
    for one in ids:
        snapshots = tracking.server.snapshots[one]
        pauses = [later - earlier for earlier, later in pairwise(snapshots)]
        assert min(pauses) >= TIMINGS.least_poll - 1e-6
        # The turns of this clock are 0.2 s apart.
        assert max(pauses) <= most + 0.2 + 1e-6


@pytest.mark.parametrize(("waited_for", "bound"), [(False, 100), (True, 260)])
def test_queries_per_minute_keep_to_their_bound(tracking: Tracking, waited_for: bool, bound: int) -> None:
    """One query for each 50 executions and poll would be 80 a minute at 30 s and 240 at 10 s."""
    track_many(tracking, over=120, waited_for=waited_for)
    tracking.run(400)
    now = tracking.clock.now
    assert tracking.server.asked(now - 60, now) <= bound


def test_few_executions_that_began_at_different_times_share_their_queries(tracking: Tracking) -> None:
    for place in range(60):
        task = Task(guid(place, 0xAAAA), f"Task {place}", 0)
        tracking.tracker.track(guid(place, 0xEEEE), task, None, [], set())
        tracking.run(1.7)
    tracking.run(300)
    now = tracking.clock.now
    assert tracking.server.asked(now - 60, now) <= 30


def test_an_execution_read_from_the_journal_is_not_polled_as_if_it_were_new(tracking: Tracking) -> None:
    task = Task(guid(1, 0xAAAA), "Old", 0)
    tracking.tracker.track("old", task, None, [], set(), age=3600.0)
    tracking.run(120)
    assert len(tracking.server.snapshots["old"]) <= 7


def test_tracking_keeps_the_same_memory(tracking: Tracking) -> None:
    track_many(tracking)
    tracking.run(60)
    gc.collect()
    tracemalloc.start()
    try:
        tracking.server.snapshots.clear()
        tracking.server.queries.clear()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            tracking.run(60)
            tracking.server.snapshots.clear()
            tracking.server.queries.clear()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Each poll replaces its place in the heap; nothing is left behind.
    assert after - before < 600_000


def test_starts_that_began_are_not_kept_until_they_would_have_expired() -> None:
    blocked = BlockedStarts(blind_retry=10.0)
    task = Task(guid(1, 0xAAAA), "Sales", 0)
    far = 10**14
    for number in range(20 * blocked_starts.TIDY_AT):
        start = OpenStart(number, None, number, f"r{number}", task, StartState.WAITING, expires_at=far)
        blocked.block(task, "x")
        blocked.add(start)
        blocked.free(task.id, "x")
        assert blocked.take(lambda _task_id: False) == [start]
        start.state = StartState.RUNNING
    assert len(blocked._expiries) <= blocked_starts.TIDY_AT


def test_starts_that_have_their_turn_and_wait_again_do_not_fill_the_memory() -> None:
    blocked = BlockedStarts(blind_retry=10.0)
    task = Task(guid(1, 0xAAAA), "Sales", 0)
    start = OpenStart(1, None, 1, "r", task, StartState.WAITING, expires_at=10**14)
    for _ in range(3 * blocked_starts.TIDY_AT):
        blocked.block(task, "x")
        blocked.add(start)
        blocked.free(task.id, "x")
        blocked.take(lambda _task_id: False)
        blocked.leave(start)
    assert len(blocked._expiries) <= blocked_starts.TIDY_AT


def test_a_start_that_waits_again_and_again_is_kept_once() -> None:
    blocked = BlockedStarts(blind_retry=10.0)
    task = Task(guid(1, 0xAAAA), "Sales", 0)
    start = OpenStart(1, None, 1, "r", task, StartState.WAITING, expires_at=10**14)
    for _ in range(100):
        blocked.block(task, "x")
        blocked.add(start)
        blocked.free(task.id, "x")
        blocked.take(lambda _task_id: False)
    assert len(blocked._expiries) == 1
