"""The threads that post: each a whole call at a time, and the one that was idle last first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Completion, Posted
from butler_mqtt.domain.model import EMPTY_GUID, Task, TaskSnapshot, TaskType
from butler_mqtt.domain.open_work import OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RunState, StartState
from butler_mqtt.starting.post_workers import PostWorkers
from tests.brokers import until

SECONDS = 10.0


def run(number: int, *, expires_at: int | None = None, kind: int = 0) -> Run:
    task = Task(f"task-{number}", "Sales", kind)
    start = OpenStart(
        number, None, number, f"request-{number}", task, StartState.PLANNED, expires_at=expires_at
    )
    return Run(number, task, [start], RunState.INTENDED, Baseline(), now_ms(), 0.0)


@dataclass
class Qlik:
    """One connection; `done` is what it was asked for and by which thread, `gate` lets starts be answered."""

    done: list[tuple[str, str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def start(self, task: Task) -> str:
        self._note("start", task)
        assert self.gate.wait(SECONDS)
        return f"execution of {task.id}"

    def snapshot(self, task: Task) -> TaskSnapshot:
        self._note("snapshot", task)
        return TaskSnapshot(task)

    def _note(self, what: str, task: Task) -> None:
        self.done.append((what, task.id, threading.current_thread().name))


@dataclass
class Posting:
    """POST workers with one thread."""

    post_workers: PostWorkers
    qlik: Qlik
    outcomes: SimpleQueue[Completion]

    def outcome(self) -> Posted:
        event = self.outcomes.get(timeout=SECONDS)
        assert isinstance(event, Posted)
        return event


@contextmanager
def posting() -> Iterator[Posting]:
    outcomes: SimpleQueue[Completion] = SimpleQueue()
    made = Posting(PostWorkers(outcomes.put), Qlik(), outcomes)
    thread = threading.Thread(target=made.post_workers.work, args=(made.qlik,), name="worker")
    thread.start()
    try:
        yield made
    finally:
        made.qlik.gate.set()
        made.post_workers.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def one() -> Iterator[Posting]:
    """Return POST workers whose thread is idle."""
    with posting() as made:
        until(lambda: made.post_workers.idle == 1, what="the thread is idle")
        yield made


def test_with_every_thread_busy_a_post_waits_its_turn(one: Posting) -> None:
    one.post_workers.post(run(1))
    one.post_workers.post(run(2))
    until(lambda: one.qlik.done, what="the first is posted")
    assert [task for _, task, _ in one.qlik.done] == ["task-1"]
    one.qlik.gate.set()
    assert [one.outcome(), one.outcome()] == [
        Posted(1, "execution of task-1"),
        Posted(2, "execution of task-2"),
    ]


def test_the_thread_that_was_idle_last_posts_next() -> None:
    outcomes: SimpleQueue[Completion] = SimpleQueue()
    post_workers, qlik = PostWorkers(outcomes.put), Qlik()
    qlik.gate.set()
    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=post_workers.work, args=(qlik,), name=f"worker-{number}"))
        threads[-1].start()
        until(lambda: post_workers.idle == len(threads), what="the thread is idle")
    for number in range(5):
        post_workers.post(run(number))
        outcomes.get(timeout=SECONDS)
        until(lambda: post_workers.idle == len(threads), what="the thread is idle again")
    for _ in threads:
        post_workers.stop()
    for thread in threads:
        thread.join(SECONDS)
    assert {name for _, _, name in qlik.done} == {"worker-2"}


def test_what_has_expired_is_not_sent(one: Posting) -> None:
    one.post_workers.post(run(1, expires_at=now_ms() - 1))
    assert one.outcome().expired
    assert one.qlik.done == []


@pytest.mark.parametrize("more", [None, 60_000], ids=["without a time", "later"])
def test_what_has_expired_for_one_start_only_is_sent(one: Posting, more: int | None) -> None:
    shared = run(1, expires_at=now_ms() - 1)
    shared.starts += run(1, expires_at=None if more is None else now_ms() + more).starts
    one.qlik.gate.set()
    one.post_workers.post(shared)
    assert one.outcome() == Posted(1, "execution of task-1")


def test_a_run_that_is_taken_back_is_not_in_hand_any_more(one: Posting) -> None:
    one.post_workers.post(run(1))
    one.post_workers.post(run(2))
    until(lambda: one.qlik.done, what="the first is posted")
    assert [one.post_workers.withdraw(number) for number in (1, 2)] == [False, True]
    assert one.post_workers.in_hand == {1}


def test_a_kind_that_does_not_show_that_it_is_disabled_is_read_before_it_is_posted(one: Posting) -> None:
    one.qlik.gate.set()
    one.post_workers.post(run(1, kind=TaskType.DISTRIBUTE))
    assert one.outcome().answer != EMPTY_GUID
    assert [what for what, _, _ in one.qlik.done] == ["snapshot", "start"]


def test_after_the_order_to_post_nothing_more_what_is_in_hand_is_still_read(one: Posting) -> None:
    one.post_workers.post(run(1))
    one.post_workers.post(run(2))
    until(lambda: one.qlik.done, what="the first is posted")
    one.post_workers.abandon()
    one.qlik.gate.set()
    assert one.outcome().run == 1
    until(lambda: one.post_workers.idle == 1, what="the thread is idle")
    one.post_workers.post(run(3))
    until(lambda: one.post_workers.idle == 1, what="the thread is idle again")
    assert [task for _, task, _ in one.qlik.done] == ["task-1"]
    assert one.outcomes.empty()
