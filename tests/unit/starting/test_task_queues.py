"""Starts that wait for their turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.starting.task_queues import Lanes

TASKS = ["a", "b", "c"]


@dataclass(eq=False)
class _Start:
    """All that lanes know of a start."""

    id: int
    task: Task
    expires_at: int | None


def start_of(task_id: str, number: int) -> OpenStart:
    """Give a start; every other one has an end of its time."""
    return cast("OpenStart", _Start(number, Task(task_id, task_id), number if number % 2 else None))


def names(starts: list[OpenStart]) -> list[int]:
    return [start.id for start in starts]


def test_starts_of_one_task_are_given_out_one_at_a_time_in_order() -> None:
    lanes = Lanes()
    for number in (1, 2, 3):
        lanes.add(start_of("a", number))
    first = lanes.take()
    assert first is not None
    assert first.id == 1
    assert lanes.take() is None
    lanes.release("a")
    second = lanes.take()
    assert second is not None
    assert second.id == 2
    assert len(lanes) == 1


def test_a_task_that_is_taken_does_not_hold_up_the_others() -> None:
    lanes = Lanes()
    lanes.occupy("a")
    lanes.add(start_of("a", 1))
    lanes.add(start_of("b", 2))
    given = lanes.take()
    assert given is not None
    assert given.id == 2
    assert lanes.take() is None
    lanes.release("a")
    given = lanes.take()
    assert given is not None
    assert given.id == 1


def test_tasks_have_their_turns_one_after_another() -> None:
    lanes = Lanes()
    for number in range(1, 5):
        lanes.add(start_of("a", number))
    lanes.add(start_of("b", 5))
    order = []
    while (start := lanes.take()) is not None:
        order.append(start.id)
        lanes.release(start.task.id)
    assert order == [1, 5, 2, 3, 4]


def test_a_task_taken_after_its_start_came_is_not_given_out() -> None:
    lanes = Lanes()
    lanes.add(start_of("a", 1))
    lanes.occupy("a")
    assert lanes.take() is None
    lanes.release("a")
    assert lanes.take() is not None


def test_releasing_a_task_that_is_not_taken_gives_nothing_out_twice() -> None:
    lanes = Lanes()
    lanes.add(start_of("a", 1))
    lanes.add(start_of("a", 2))
    lanes.release("a")
    assert lanes.take() is not None
    assert lanes.take() is None


def test_removed_starts_are_given_back_and_not_given_out() -> None:
    lanes = Lanes()
    lanes.add(start_of("a", 1))
    lanes.add(start_of("a", 2))
    lanes.add(start_of("b", 3))
    assert names(lanes.remove(lambda start: start.id in {1, 3})) == [1, 3]
    assert len(lanes) == 1
    given = lanes.take()
    assert given is not None
    assert given.id == 2
    assert lanes.take() is None


def test_a_task_whose_starts_were_all_removed_while_taken_can_be_used_again() -> None:
    lanes = Lanes()
    lanes.add(start_of("a", 1))
    lanes.add(start_of("a", 2))
    assert lanes.take() is not None
    lanes.remove(lambda _start: True)
    lanes.add(start_of("a", 3))
    assert lanes.take() is None
    lanes.release("a")
    given = lanes.take()
    assert given is not None
    assert given.id == 3


def test_no_start_is_lost_when_the_answer_about_it_changes_meanwhile() -> None:
    """Whether a start is too late is a matter of the moment at which it is asked."""
    lanes = Lanes()
    lanes.add(start_of("a", 1))
    lanes.add(start_of("a", 2))
    asked: list[int] = []

    def late(start: OpenStart) -> bool:
        asked.append(start.id)
        return start.id == 1 or asked.count(2) > 1

    removed = names(lanes.remove(late))
    left = []
    while (start := lanes.take()) is not None:
        left.append(start.id)
        lanes.release("a")
    assert sorted(removed + left) == [1, 2]


class LanesAgainstAModel(RuleBasedStateMachine):
    """The lanes beside the simplest thing that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.waiting: dict[str, deque[int]] = {task: deque() for task in TASKS}
        self.taken: set[str] = set()
        self.numbers = count(1)

    @rule(task=st.sampled_from(TASKS))
    def add(self, task: str) -> None:
        number = next(self.numbers)
        self.lanes.add(start_of(task, number))
        self.waiting[task].append(number)

    @rule()
    def take(self) -> None:
        start = self.lanes.take()
        free = [task for task in TASKS if self.waiting[task] and task not in self.taken]
        assert (start is None) == (not free)
        if start is not None:
            assert start.task.id in free
            assert start.id == self.waiting[start.task.id].popleft()
            self.taken.add(start.task.id)

    @rule(task=st.sampled_from(TASKS))
    def release(self, task: str) -> None:
        self.lanes.release(task)
        self.taken.discard(task)

    @rule(task=st.sampled_from(TASKS))
    def occupy(self, task: str) -> None:
        self.lanes.occupy(task)
        self.taken.add(task)

    @rule(rest=st.integers(0, 2))
    def remove(self, rest: int) -> None:
        removed = self.lanes.remove(lambda start: start.id % 3 == rest)
        gone = [number for lane in self.waiting.values() for number in lane if number % 3 == rest]
        assert sorted(names(removed)) == sorted(gone)
        for lane in self.waiting.values():
            for number in [one for one in lane if one % 3 == rest]:
                lane.remove(number)

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.lanes) == sum(map(len, self.waiting.values()))
        assert self.lanes.expiring == sum(one % 2 for lane in self.waiting.values() for one in lane)


TestLanesAgainstAModel: Any = LanesAgainstAModel.TestCase
