"""Starts whose task is read once more before the POST."""

from __future__ import annotations

import time

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.resolving.refresh import TaskRefresh
from butler_mqtt.steady_clock import elapsed_ms_at
from tests.unit.starting.starts import TASK, start

READ = Task("task", "Sales, renamed")


def taken(refresh: TaskRefresh) -> list[OpenStart]:
    found = refresh.take()
    assert found is not None
    return found[0]


def test_a_start_goes_on_with_its_task_as_it_was_read_after_it_was_held() -> None:
    asked: list[str] = []
    refresh, held = TaskRefresh(asked.append), start(unread=True, found_before=True)
    refresh.hold([held])
    assert asked == ["task"]
    refresh.read({"task": READ}, time.monotonic())
    assert taken(refresh) == [held]
    assert (held.task, held.unread, held.found_before) == (READ, False, False)
    assert len(refresh) == 0


def test_a_reading_from_before_is_none() -> None:
    before = time.monotonic() - 1
    refresh = TaskRefresh(lambda _task: None)
    refresh.hold([start()])
    refresh.read({"task": READ, "other": READ}, before)
    assert refresh.take() is None
    assert len(refresh) == 1


def test_a_task_that_is_not_shown_stays_as_it_was() -> None:
    refresh, held = TaskRefresh(lambda _task: None), start()
    refresh.hold([held])
    refresh.read({"task": None}, time.monotonic())
    assert taken(refresh) == [held]
    assert held.task is TASK


def test_starts_that_are_taken_back_leave_the_others_and_name_the_tasks_without_any() -> None:
    refresh, kept, gone = TaskRefresh(lambda _task: None), start(), start()
    other = start(task=Task("other", "Other"))
    refresh.hold([kept, gone])
    refresh.hold([other])
    refresh.read({"other": None}, time.monotonic())
    assert refresh.remove(lambda one: one in (gone, other)) == ["other"]
    assert list(refresh.starts()) == [kept]
    assert refresh.take() is None


def test_with_a_start_comes_when_its_task_was_read() -> None:
    refresh = TaskRefresh(lambda _task: None)
    refresh.hold([start()])
    asked_at = time.monotonic()
    refresh.read({"task": READ}, asked_at)
    found = refresh.take()
    assert found is not None
    assert abs(found[1] - elapsed_ms_at(asked_at)) <= 1
