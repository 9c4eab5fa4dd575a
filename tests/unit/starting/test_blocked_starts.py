"""Starts that wait behind an execution of their task, or for their time."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.starting.blocked_starts import BlockedStarts
from tests.unit.starting.starts import TASK

NUMBERS = count(1)
OTHER = Task("other", "Other")
HOUR = 3_600_000


def waiting(task: Task = TASK, **more: Any) -> OpenStart:
    """Make a start that waits, behind an execution unless *more* says otherwise."""
    number = next(NUMBERS)
    more = {"reason": "running", **more}
    return OpenStart(number, None, number, "request", task, StartState.WAITING, **more)


def behind(execution_id: str | None, *starts: OpenStart, blind_retry: float = 60.0) -> BlockedStarts:
    """Let *starts*, all of one task, wait behind an execution."""
    blocked = BlockedStarts(blind_retry)
    blocked.block(starts[0].task, execution_id)
    for one in starts:
        blocked.add(one)
    return blocked


def nothing_is_taken(task_id: str) -> bool:
    del task_id
    return False


# ---- behind an execution


def test_all_that_wait_for_a_task_go_together_when_the_execution_before_them_has_ended() -> None:
    starts = [waiting(), waiting()]
    blocked = behind("x", *starts)
    assert blocked.take(nothing_is_taken) == []
    blocked.free("task", "x")
    assert blocked.take(nothing_is_taken) == starts
    assert blocked.behind("task") == (False, None)


def test_the_end_of_another_execution_frees_nothing() -> None:
    blocked = behind("x", waiting())
    blocked.free("task", "y")
    blocked.free("other", "x")
    assert blocked.take(nothing_is_taken) == []
    assert blocked.behind("task") == (True, "x")


def test_a_task_that_is_taken_is_passed_over() -> None:
    first, second = waiting(), waiting(OTHER)
    blocked = behind("x", first)
    blocked.block(OTHER, "y")
    blocked.add(second)
    blocked.free("task", "x")
    blocked.free("other", "y")
    assert blocked.take("task".__eq__) == [second]
    assert blocked.take("task".__eq__) == []
    assert blocked.take(nothing_is_taken) == [first]


def test_what_is_free_and_has_to_wait_again_does_not_go() -> None:
    blocked = behind("x", waiting())
    blocked.free("task", "x")
    assert blocked.behind("task") == (False, None)
    blocked.block(TASK, "y")
    assert blocked.behind("task") == (True, "y")
    assert blocked.take(nothing_is_taken) == []


def test_behind_an_execution_without_an_id_a_task_is_tried_again_after_a_while() -> None:
    one = waiting()
    assert behind(None, one).take(nothing_is_taken) == []
    assert behind(None, one, blind_retry=0.0).take(nothing_is_taken) == [one]


def test_an_execution_with_an_id_is_waited_for_however_long_it_lasts() -> None:
    assert behind("x", waiting(), blind_retry=0.0).take(nothing_is_taken) == []


def test_the_try_after_a_while_leaves_what_waits_behind_an_execution_with_an_id_by_then() -> None:
    blocked = behind(None, waiting(), blind_retry=0.0)
    blocked.block(TASK, "x")
    assert blocked.take(nothing_is_taken) == []


def test_a_start_that_does_not_wait_any_more_does_not_go() -> None:
    gone, stays = waiting(), waiting()
    blocked = behind("x", gone, stays)
    gone.state = StartState.EXPIRED
    blocked.free("task", "x")
    assert blocked.take(nothing_is_taken) == [stays]


def test_a_free_task_of_which_nothing_waits_any_more_holds_up_no_other() -> None:
    gone, stays = waiting(), waiting(OTHER)
    blocked = behind("x", gone)
    blocked.block(OTHER, "y")
    blocked.add(stays)
    blocked.remove([gone])
    blocked.free("task", "x")
    blocked.free("other", "y")
    assert blocked.take(nothing_is_taken) == [stays]


def test_those_that_join_a_run_before_the_end_leave_the_task_blocked_for_others() -> None:
    one = waiting()
    blocked = behind("x", one)
    assert blocked.join("task") == [one]
    assert blocked.join("task") == []
    assert blocked.behind("task") == (True, "x")


def test_nothing_joins_a_run_of_a_task_that_is_not_blocked() -> None:
    assert BlockedStarts(60.0).join("task") == []


def test_what_may_go_is_told_before_it_goes() -> None:
    one = waiting()
    blocked = behind("x", one)
    assert list(blocked.free_starts()) == []
    blocked.free("task", "x")
    assert list(blocked.free_starts()) == [one]


# ---- their task, and what was seen of the execution before them


def test_a_start_has_its_task_as_it_was_read_last() -> None:
    read = Task("task", "Sales, renamed", last_shown=True)
    one = waiting()
    blocked = behind("x", one)
    blocked.block(read, "x")
    later = waiting()
    blocked.add(later)
    assert later.task is read
    blocked.free("task", "x")
    blocked.take(nothing_is_taken)
    assert one.task is read


def test_a_task_without_its_newest_execution_does_not_take_the_place_of_one_with_it() -> None:
    read = Task("task", "Sales", last_shown=True)
    one = waiting(read)
    blocked = behind("x", one)
    blocked.block(TASK, "x")
    blocked.free("task", "x")
    blocked.take(nothing_is_taken)
    assert one.task is read


def test_the_execution_counts_as_seen_from_the_beginning_of_the_wait_on() -> None:
    before, after = waiting(waits_since=10.0), waiting(waits_since=20.0)
    blocked = behind("x", before, after)
    blocked.seen("task", "x", 10.0)
    blocked.seen("task", "x", 5.0)
    blocked.seen("task", "y", 30.0)
    blocked.seen("other", "x", 30.0)
    blocked.join("task")
    assert (before.seen_behind, after.seen_behind) == (True, False)


def test_behind_another_execution_the_wait_begins_anew() -> None:
    one = waiting(waits_since=10.0)
    blocked = behind("x", one)
    blocked.seen("task", "x", time.monotonic())
    blocked.block(TASK, "y")
    blocked.join("task")
    assert not one.seen_behind


def test_behind_the_same_execution_the_wait_goes_on() -> None:
    one = waiting(waits_since=10.0)
    blocked = behind("x", one)
    blocked.seen("task", "x", 11.0)
    blocked.block(TASK, "x")
    blocked.join("task")
    assert one.seen_behind


# ---- their time


def test_starts_are_due_in_the_order_of_their_times() -> None:
    blocked, now = BlockedStarts(60.0), now_ms()
    late, early, to_come, gone = (waiting(reason="notBefore") for _ in range(4))
    blocked.until(late, now - 1)
    blocked.until(early, now - 2)
    blocked.until(to_come, now + HOUR)
    blocked.until(gone, now - 3)
    gone.state = StartState.CANCELLED
    assert list(blocked.due()) == [early, late]
    assert list(blocked.due()) == []
    assert list(blocked.starts()) == [to_come]


def test_what_waits_for_its_time_and_is_removed_is_not_due() -> None:
    blocked, now = BlockedStarts(60.0), now_ms()
    gone, stays = waiting(reason="notBefore"), waiting(reason="notBefore")
    blocked.until(gone, now - 2)
    blocked.until(stays, now - 1)
    blocked.remove([gone])
    assert list(blocked.due()) == [stays]


def test_what_waits_behind_an_execution_and_is_removed_does_not_go() -> None:
    gone, stays = waiting(), waiting()
    blocked = behind("x", gone, stays)
    blocked.remove([gone])
    assert list(blocked.starts()) == [stays]
    blocked.free("task", "x")
    assert blocked.take(nothing_is_taken) == [stays]


def test_a_start_expires_once_wherever_it_waits() -> None:
    past = now_ms() - 1
    in_group, timed, held = (waiting(expires_at=past) for _ in range(3))
    blocked = behind("x", in_group)
    blocked.until(timed, past + HOUR)
    blocked.hold(held)
    blocked.hold(held)
    assert {one.id for one in blocked.expired()} == {in_group.id, timed.id, held.id}
    assert blocked.expired() == []


def test_what_has_time_has_begun_or_is_in_a_run_does_not_expire() -> None:
    past = now_ms() - 1
    in_time, begun, in_run, unlimited, left = (
        waiting(expires_at=past + HOUR),
        waiting(expires_at=past),
        waiting(expires_at=past, run=7),
        waiting(),
        waiting(expires_at=past),
    )
    blocked = behind("x", in_time, begun, in_run, unlimited, left)
    begun.state = StartState.RUNNING
    blocked.leave(left)
    assert blocked.expired() == []


def test_one_that_left_and_waits_again_expires() -> None:
    one = waiting(expires_at=now_ms() - 1)
    blocked = behind("x", one)
    blocked.leave(one)
    blocked.hold(one)
    assert blocked.expired() == [one]
    assert blocked.expired() == []


# ---- after a fault


def test_what_is_forgotten_comes_in_no_way() -> None:
    past = now_ms() - 1
    blocked = behind("x", waiting(expires_at=past))
    blocked.until(waiting(reason="notBefore", expires_at=past), past)
    blocked.free("task", "x")
    blocked.block(OTHER, None)
    blocked.clear()
    assert list(blocked.starts()) == []
    assert list(blocked.free_starts()) == []
    assert list(blocked.due()) == []
    assert blocked.expired() == []
    assert blocked.behind("task") == (False, None)


def test_a_start_that_is_read_again_from_the_journal_expires() -> None:
    one = waiting(expires_at=now_ms() - 1)
    blocked = behind("x", one)
    blocked.clear()
    blocked.hold(one)
    assert blocked.expired() == [one]
