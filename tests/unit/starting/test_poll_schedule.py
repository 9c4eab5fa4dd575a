"""When each execution is polled next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.domain.open_work import Watch
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.starting.poll_schedule import MAX_PUT_OFF, PollSchedule
from tests.unit.starting.starts import TASK

TIMINGS = QlikTimings()


def watch(since: float = 0.0, *waited_for: str) -> Watch:
    return Watch("execution", TASK, since, waited_for=set(waited_for))


def pause(age: float, *waited_for: str) -> float:
    """Return after how many seconds an execution of that age is polled."""
    schedule, now = PollSchedule(TIMINGS), 1000.0
    schedule.add(watch(now - age, *waited_for), now)
    low, high = 0.0, 1000.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if schedule.is_due(now + middle, 1, busy=False) else (middle, high)
    return high


@given(st.floats(0, 1e7))
def test_pauses_grow_with_age_within_their_bounds(age: float) -> None:
    # They end at common moments: short ones up to a quarter later, long ones up to a quarter earlier.
    assert 0.75 * TIMINGS.least_poll <= pause(age) <= TIMINGS.most_poll + 1e-5
    assert pause(age, "other") <= TIMINGS.most_blocking_poll + 1e-5


def test_executions_of_about_one_age_are_polled_at_one_moment() -> None:
    schedule = PollSchedule(TIMINGS)
    for number in range(1, 20):
        schedule.add(watch(1000.0), 1000.0 + number / 100)
    assert schedule.pop(1001.24) is None
    taken = [schedule.pop(1001.25) for _ in range(1, 20)]
    assert None not in taken


def test_a_poll_is_due_once_and_has_a_number_of_its_own() -> None:
    schedule, one, other = PollSchedule(TIMINGS), watch(), watch()
    schedule.add(one, 0.0, 1.0)
    schedule.add(other, 0.0, 1.0)
    assert schedule.pop(0.5) is None
    assert {schedule.pop(100.0), schedule.pop(100.0)} == {
        ("execution", one.snapshot),
        ("execution", other.snapshot),
    }
    assert one.snapshot != other.snapshot
    assert schedule.pop(100.0) is None


def test_while_starts_are_ready_polls_are_seldom_but_not_of_too_many() -> None:
    schedule = PollSchedule(TIMINGS)
    schedule.add(watch(), 0.0, 1.0)
    schedule.submitted(10.0)
    soon, later = 10.0 + TIMINGS.busy_poll / 2, 10.0 + TIMINGS.busy_poll
    assert not schedule.is_due(soon, 1, busy=True)
    assert schedule.is_due(later, 1, busy=True)
    assert schedule.is_due(soon, 1, busy=False)
    assert schedule.is_due(soon, MAX_PUT_OFF + 1, busy=True)


def test_nothing_is_due_once_all_is_forgotten() -> None:
    schedule = PollSchedule(TIMINGS)
    schedule.add(watch(), 0.0, 1.0)
    schedule.clear()
    assert not schedule.is_due(1e9, 1, busy=False)
