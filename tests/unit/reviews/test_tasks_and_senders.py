"""What a review says of tasks that fail, of allow-lists and of senders."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import Task
from butler_mqtt.journal.usage import SenderUse, TaskUse, Usage
from butler_mqtt.reviews import tasks_and_senders
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import Settings, StartTaskFilter

DAY = 86_400_000


def test_the_task_with_the_most_failures_and_skips_stands_first() -> None:
    usage = Usage(
        0,
        tasks={
            "a": TaskUse("Sales", 5, 0, {"succeeded": 9, "failed": 1}),
            "b": TaskUse("Stock", 6, 0, {"succeeded": 1, "failed": 1, "skipped": 4}),
            "c": TaskUse("Fine", 7, 0, {"succeeded": 100, "running": 1, "cancelled": 3}),
        },
    )
    stock, sales = tasks_and_senders.failing(usage)
    assert stock.text == "task Stock (b): of 6 starts 4 were skipped since it ran already, 1 failed"
    assert stock.advice.startswith("ask less often")
    assert sales.text == "task Sales (a): of 10 starts 1 failed"
    assert sales.advice == "see why: butler-mqtt requests --state failed --task a"


def test_each_entry_of_the_allow_list_without_a_task_is_named_with_its_place() -> None:
    allow = StartTaskFilter(
        enable=True,
        task_ids=frozenset({"11111111-0000-4000-8000-000000000009"}),
        tags=("daily", "wekly"),
        custom_properties=(("Group", "nightly"),),
    )
    site = SiteTasks([Task(id="x", name="Sales", tags=("Daily", "weekly"))])
    lists = tasks_and_senders.allow_lists(Settings(start_task_filter=allow))
    lines = [(one.text, one.advice) for one in tasks_and_senders.without_task(lists, site)]
    place = "startTaskFilter.allowTask"
    nothing = "remove the entry, or correct it"
    assert lines == [
        (f"{place}: taskId 11111111-0000-4000-8000-000000000009 matches no task", nothing),
        (f"{place}: tag wekly matches no task", "correct it: weekly is there, a misspelling of it?"),
        (f"{place}: Group=nightly matches no task", nothing),
    ]


def test_an_allow_list_that_is_off_is_not_reviewed() -> None:
    allow = StartTaskFilter(enable=False, tags=("gone",))
    assert list(tasks_and_senders.allow_lists(Settings(start_task_filter=allow))) == []


@pytest.mark.parametrize(
    ("days", "first", "last", "silent"),
    [
        (30, 0, 29, False),
        (27, 0, 26.5, True),
        (28, 0, 27.5, False),
        (4, 0, 21, False),
        (1, 14, 14, True),
        (1, 16, 16, False),
    ],
    ids=["daily", "daily, 3.5 days", "daily, 2.5 days", "weekly, 9 days", "once, long ago", "once, lately"],
)
def test_a_sender_is_silent_for_long_by_what_is_usual_for_it(
    days: int, first: float, last: float, silent: bool
) -> None:
    use = SenderUse(days, days, round(first * DAY), round(last * DAY))
    found = list(tasks_and_senders.silent(Usage(0, senders={"erp": use}), 30 * DAY))
    assert bool(found) == silent


def test_a_silent_sender_says_since_when_and_how_often_it_was_heard() -> None:
    use = SenderUse(100, 11, 0, 10 * DAY)
    (line,) = tasks_and_senders.silent(Usage(0, senders={"erp": use}), 30 * DAY)
    assert line.text == "sender erp: silent for 20 days; before that it was heard every day"
