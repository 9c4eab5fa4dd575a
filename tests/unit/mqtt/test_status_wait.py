"""Requests of a new connection wait for the retained status."""

from __future__ import annotations

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.status_wait import RETAINED_STATUS_SECONDS, StatusWait


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def message(packet_id: int) -> Message:
    return Message("qliksense/task/start", b"{}", packet_id, 1)


def test_nothing_is_awaited_before_it_begins() -> None:
    wait = StatusWait(Clock())
    assert (wait.going_on, wait.overdue) == (False, False)


def test_it_is_overdue_when_its_time_is_over_and_not_before() -> None:
    clock = Clock()
    wait = StatusWait(clock)
    wait.begin()
    clock.now += RETAINED_STATUS_SECONDS
    assert (wait.going_on, wait.overdue) == (True, False)
    clock.now += 0.001
    assert (wait.going_on, wait.overdue) == (True, True)


def test_its_end_gives_what_was_held_in_order_and_only_once() -> None:
    wait = StatusWait(Clock())
    wait.begin()
    first, second = message(1), message(2)
    wait.hold(first)
    wait.hold(second)
    assert wait.end() == [first, second]
    assert (wait.end(), wait.going_on, wait.overdue) == ([], False, False)


def test_what_will_not_come_is_overdue_at_once() -> None:
    wait = StatusWait(Clock())
    wait.begin()
    wait.hurry()
    assert (wait.going_on, wait.overdue) == (True, True)


def test_what_is_not_awaited_cannot_be_hurried() -> None:
    wait = StatusWait(Clock())
    wait.hurry()
    assert (wait.going_on, wait.overdue) == (False, False)
