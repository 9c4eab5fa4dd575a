"""Runs to be posted again."""

from __future__ import annotations

import time

from butler_mqtt.domain.model import Task
from butler_mqtt.starting.repeated_runs import RepeatedRuns
from butler_mqtt.steady_clock import elapsed_ms_at
from tests.unit.starting.starts import TASK, run

READ = Task("task", "Sales, renamed")


def test_runs_go_in_order() -> None:
    repeated, first, second = RepeatedRuns(lambda _task: None), run(), run()
    repeated.add(first)
    repeated.add(second)
    assert list(repeated) == [first, second]
    assert [repeated.take(), repeated.take(), repeated.take()] == [first, second, None]


def test_one_whose_task_is_to_be_read_goes_when_it_has_been() -> None:
    asked: list[str] = []
    repeated, held = RepeatedRuns(asked.append), run()
    repeated.hold(held)
    assert asked == ["task"]
    assert repeated.take() is None
    assert list(repeated) == [held]
    asked_at = time.monotonic()
    repeated.read({"task": READ, "other": None}, asked_at)
    assert repeated.take() is held
    assert list(repeated) == []
    assert held.task is READ
    assert abs(held.read_at - elapsed_ms_at(asked_at)) <= 1


def test_a_reading_from_before_is_none() -> None:
    before = time.monotonic() - 1
    repeated, held = RepeatedRuns(lambda _task: None), run()
    repeated.hold(held)
    repeated.read({"task": READ}, before)
    assert repeated.take() is None
    assert held.task is TASK


def test_a_task_that_is_not_shown_stays_as_it_was() -> None:
    repeated, held = RepeatedRuns(lambda _task: None), run()
    repeated.hold(held)
    repeated.read({"task": None}, time.monotonic())
    assert repeated.take() is held
    assert held.task is TASK


def test_one_that_is_removed_does_not_go_whether_it_is_held_or_not() -> None:
    repeated, ready, held = RepeatedRuns(lambda _task: None), run(), run(task=Task("other", "Other"))
    repeated.add(ready)
    repeated.hold(held)
    repeated.remove(held)
    repeated.remove(ready)
    repeated.read({"other": None}, time.monotonic())
    assert list(repeated) == []


def test_all_are_forgotten() -> None:
    repeated = RepeatedRuns(lambda _task: None)
    repeated.add(run())
    repeated.hold(run(task=Task("other", "Other")))
    repeated.clear()
    assert list(repeated) == []
