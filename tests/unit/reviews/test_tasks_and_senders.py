"""What a review says of tasks that fail and of senders."""

from __future__ import annotations

import pytest

from butler_mqtt.journal.usage import SenderUse, TaskUse, Usage
from butler_mqtt.reviews import tasks_and_senders

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


def test_a_sender_of_the_configuration_that_was_not_heard_of_is_told() -> None:
    usage = Usage(0, senders={"erp": SenderUse(1, 1, 29 * DAY, 29 * DAY)})
    (line,) = tasks_and_senders.silent(usage, 30 * DAY, ["erp", "gateway"])
    assert line.text == "sender gateway: not heard of in 30 days"
