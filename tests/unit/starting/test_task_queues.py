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
from butler_mqtt.domain.states import StartState
from butler_mqtt.starting.task_queues import TaskQueues

TASKS = ["a", "b", "c"]


@dataclass(eq=False)
class _Start:
    """All that task queues know of a start."""

    id: int
    task: Task
    expires_at: int | None
    request_row: int
    state: StartState = StartState.PLANNED


def start_of(task_id: str, number: int, request: int | None = None) -> OpenStart:
    """Return a start, of a request of its own unless one is named; every other one expires."""
    expires_at = number if number % 2 else None
    row = number if request is None else request
    return cast("OpenStart", _Start(number, Task(task_id, task_id), expires_at, row))


def names(starts: list[OpenStart]) -> list[int]:
    return [start.id for start in starts]


def test_starts_of_one_task_are_returned_one_at_a_time_in_order() -> None:
    queues = TaskQueues()
    for number in (1, 2, 3):
        queues.add(start_of("a", number))
    first = queues.take()
    assert first is not None
    assert first.id == 1
    assert queues.take() is None
    queues.release("a")
    second = queues.take()
    assert second is not None
    assert second.id == 2
    assert len(queues) == 1


def test_a_task_that_is_taken_does_not_hold_up_the_others() -> None:
    queues = TaskQueues()
    queues.occupy("a")
    queues.add(start_of("a", 1))
    queues.add(start_of("b", 2))
    given = queues.take()
    assert given is not None
    assert given.id == 2
    assert queues.take() is None
    queues.release("a")
    given = queues.take()
    assert given is not None
    assert given.id == 1


def test_tasks_have_their_turns_one_after_another() -> None:
    queues = TaskQueues()
    for number in range(1, 5):
        queues.add(start_of("a", number))
    queues.add(start_of("b", 5))
    order = []
    while (start := queues.take()) is not None:
        order.append(start.id)
        queues.release(start.task.id)
    assert order == [1, 5, 2, 3, 4]


def test_a_request_of_many_tasks_does_not_keep_another_waiting_for_all_of_them() -> None:
    queues = TaskQueues()
    for number in range(1, 6):
        queues.add(start_of(f"many {number}", number, request=1))
    queues.add(start_of("single", 6, request=2))
    queues.add(start_of("other", 7, request=3))
    assert [(place, start.id) for place, start in queues.places()] == [
        *((1, 1), (2, 6), (3, 7)),
        *((4, 2), (5, 3), (6, 4), (7, 5)),
    ]
    order = []
    while (start := queues.take()) is not None:
        order.append(start.id)
    assert order == [1, 6, 7, 2, 3, 4, 5]


def test_starts_of_one_task_have_one_place() -> None:
    queues = TaskQueues()
    queues.occupy("in hand")
    for number, task in enumerate(["in hand", "a", "a", "b"], 1):
        queues.add(start_of(task, number))
    assert [(place, start.id) for place, start in queues.places()] == [(1, 2), (1, 3), (2, 4), (3, 1)]


def test_those_that_are_recorded_as_waiting_are_not_fresh() -> None:
    queues = TaskQueues()
    first, second = start_of("a", 1), start_of("b", 2)
    queues.add(first)
    queues.add(second)
    first.state = second.state = StartState.WAITING
    queues.all_recorded()
    queues.add(start_of("c", 3))
    assert (len(queues), queues.fresh) == (3, 1)
    assert queues.take() is first
    queues.remove(lambda start: start.id == 3)
    assert (len(queues), queues.fresh) == (1, 0)


def test_a_task_taken_after_its_start_came_is_not_returned() -> None:
    queues = TaskQueues()
    queues.add(start_of("a", 1))
    queues.occupy("a")
    assert queues.take() is None
    queues.release("a")
    assert queues.take() is not None


def test_releasing_a_task_that_is_not_taken_returns_nothing_twice() -> None:
    queues = TaskQueues()
    queues.add(start_of("a", 1))
    queues.add(start_of("a", 2))
    queues.release("a")
    assert queues.take() is not None
    assert queues.take() is None


def test_removed_starts_are_returned_once() -> None:
    queues = TaskQueues()
    queues.add(start_of("a", 1))
    queues.add(start_of("a", 2))
    queues.add(start_of("b", 3))
    assert names(queues.remove(lambda start: start.id in {1, 3})) == [1, 3]
    assert len(queues) == 1
    given = queues.take()
    assert given is not None
    assert given.id == 2
    assert queues.take() is None


def test_a_task_whose_starts_were_all_removed_while_taken_can_be_used_again() -> None:
    queues = TaskQueues()
    queues.add(start_of("a", 1))
    queues.add(start_of("a", 2))
    assert queues.take() is not None
    queues.remove(lambda _start: True)
    queues.add(start_of("a", 3))
    assert queues.take() is None
    queues.release("a")
    given = queues.take()
    assert given is not None
    assert given.id == 3


def test_no_start_is_lost_when_the_answer_about_it_changes() -> None:
    """Whether a start is too late is a matter of the moment at which it is asked."""
    queues = TaskQueues()
    queues.add(start_of("a", 1))
    queues.add(start_of("a", 2))
    asked: list[int] = []

    def late(start: OpenStart) -> bool:
        asked.append(start.id)
        return start.id == 1 or asked.count(2) > 1

    removed = names(queues.remove(late))
    left = []
    while (start := queues.take()) is not None:
        left.append(start.id)
        queues.release("a")
    assert sorted(removed + left) == [1, 2]


class TaskQueuesAgainstAModel(RuleBasedStateMachine):
    """The task queues beside the simplest thing that does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = TaskQueues()
        self.waiting: dict[str, deque[int]] = {task: deque() for task in TASKS}
        self.taken: set[str] = set()
        self.numbers = count(1)

    @rule(task=st.sampled_from(TASKS), request=st.sampled_from([None, 1, 2]))
    def add(self, task: str, request: int | None) -> None:
        number = next(self.numbers)
        self.queues.add(start_of(task, number, request))
        self.waiting[task].append(number)

    @rule()
    def take(self) -> None:
        start = self.queues.take()
        free = [task for task in TASKS if self.waiting[task] and task not in self.taken]
        assert (start is None) == (not free)
        if start is not None:
            assert start.task.id in free
            assert start.id == self.waiting[start.task.id].popleft()
            self.taken.add(start.task.id)

    @rule(task=st.sampled_from(TASKS))
    def release(self, task: str) -> None:
        self.queues.release(task)
        self.taken.discard(task)

    @rule(task=st.sampled_from(TASKS))
    def occupy(self, task: str) -> None:
        self.queues.occupy(task)
        self.taken.add(task)

    @rule(rest=st.integers(0, 2))
    def remove(self, rest: int) -> None:
        removed = self.queues.remove(lambda start: start.id % 3 == rest)
        gone = [number for queue in self.waiting.values() for number in queue if number % 3 == rest]
        assert sorted(names(removed)) == sorted(gone)
        for queue in self.waiting.values():
            for number in [one for one in queue if one % 3 == rest]:
                queue.remove(number)

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.queues) == sum(map(len, self.waiting.values()))
        assert self.queues.expiring == sum(one % 2 for queue in self.waiting.values() for one in queue)


TestTaskQueuesAgainstAModel: Any = TaskQueuesAgainstAModel.TestCase
