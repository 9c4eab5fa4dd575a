"""The machine's clock jumps: nothing is deleted, refused or repeated because of that."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.steady_clock import SteadyClock

NOW = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp() * 1000)
SECOND, MINUTE, DAY = 1000, 60_000, 86_400_000


@dataclass
class Machine:
    """A machine whose clock is `wrong` by so many milliseconds, `elapsed` after its start."""

    wrong: int = 0
    elapsed: int = 10_000
    steady: SteadyClock = field(init=False)

    def __post_init__(self) -> None:
        self.steady = SteadyClock(lambda: NOW + self.elapsed + self.wrong, lambda: self.elapsed)

    @property
    def right(self) -> int:
        return NOW + self.elapsed

    def server_time(self) -> datetime:
        return datetime.fromtimestamp(self.right / 1000, UTC)


def test_time_continues_as_before_while_a_jump_is_not_confirmed(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    machine.wrong = 40 * DAY
    machine.elapsed += 30 * SECOND
    assert machine.steady.now_ms() == machine.right
    assert machine.steady.pruning_ms() is None
    machine.wrong = 0
    machine.elapsed += 30 * SECOND
    assert machine.steady.now_ms() == machine.steady.pruning_ms() == machine.right
    assert [(one.levelname, getattr(one, "action", "")) for one in caplog.records] == [
        ("WARNING", "clock_jumped")
    ]


def test_a_server_that_does_not_agree_confirms_nothing() -> None:
    machine = Machine()
    machine.wrong = 40 * DAY
    machine.steady.now_ms()
    machine.steady.confirm(machine.server_time())
    machine.steady.confirm(None)
    assert (machine.steady.now_ms(), machine.steady.doubted) == (machine.right, True)


def test_a_clock_that_the_server_confirms_is_trusted() -> None:
    machine = Machine(wrong=-40 * DAY)
    machine.wrong = 0
    assert machine.steady.now_ms() == machine.right - 40 * DAY
    machine.steady.confirm(machine.server_time())
    assert machine.steady.now_ms() == machine.right


def test_what_was_closed_before_the_clock_was_moved_forward_is_not_as_old_as_it_seems() -> None:
    machine = Machine(wrong=-40 * DAY)
    machine.wrong = 0
    machine.steady.now_ms()
    machine.steady.confirm(machine.server_time())
    assert machine.steady.pruning_ms() == machine.right - 40 * DAY


def test_a_clock_that_nobody_confirms_is_trusted_after_a_day() -> None:
    machine = Machine()
    machine.wrong = 2 * DAY
    machine.steady.now_ms()
    machine.elapsed += DAY - 1
    machine.steady.confirm(None)
    assert machine.steady.now_ms() == machine.right
    machine.elapsed += 1
    machine.steady.confirm(None)
    assert machine.steady.now_ms() == machine.right + 2 * DAY


@pytest.mark.parametrize("seconds", [-59, -1, 1, 59])
def test_what_a_time_service_corrects_is_trusted_at_once(seconds: int) -> None:
    machine = Machine()
    machine.wrong = seconds * SECOND
    assert machine.steady.now_ms() == machine.right + machine.wrong
    assert not machine.steady.doubted


@pytest.mark.parametrize("wrong", [-56 * 365 * DAY, -2 * MINUTE, 2 * DAY, 14 * 365 * DAY])
def test_a_clock_that_is_wrong_from_the_start_continues_from_the_journal(wrong: int) -> None:
    """A machine without a battery begins in 1970, or in 2040."""
    machine = Machine(wrong=wrong)
    machine.steady.begin(machine.right - 5 * SECOND)
    machine.elapsed += SECOND
    assert machine.steady.now_ms() == machine.right - 5 * SECOND
    assert machine.steady.pruning_ms() is None
    machine.wrong = 0
    assert machine.steady.now_ms() == machine.right


def test_a_daemon_that_was_off_for_a_week_trusts_its_clock_once_the_server_agrees(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    machine = Machine()
    machine.steady.begin(machine.right - 7 * DAY)
    assert machine.steady.doubted
    machine.steady.confirm(machine.server_time())
    assert machine.steady.now_ms() == machine.right
    assert {one.levelname for one in caplog.records} == {"INFO"}


def test_a_clock_that_was_set_right_before_the_journal_was_read_is_trusted() -> None:
    machine = Machine(wrong=40 * DAY)
    machine.wrong = 0
    machine.steady.now_ms()
    machine.steady.begin(machine.right - 5 * SECOND)
    assert (machine.steady.now_ms(), machine.steady.doubted) == (machine.right, False)


@pytest.mark.parametrize("ago", [0, 30 * SECOND, DAY - SECOND])
def test_a_clock_that_fits_the_journal_is_trusted(ago: int) -> None:
    machine = Machine()
    machine.steady.begin(machine.right - ago)
    machine.steady.begin(None)
    assert (machine.steady.now_ms(), machine.steady.doubted) == (machine.right, False)


def test_the_warning_comes_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    machine.wrong = DAY
    for _ in range(3):
        machine.steady.now_ms()
        machine.steady.now_ms()
        machine.elapsed += 3600 * SECOND
    assert len(caplog.records) == 3


@given(
    steps=st.lists(
        st.tuples(st.integers(-100 * DAY, 100 * DAY), st.integers(0, 3600 * SECOND)), min_size=1, max_size=8
    )
)
def test_however_the_clock_jumps_time_that_nobody_confirms_stays_right(steps: list[tuple[int, int]]) -> None:
    logging.disable()
    machine = Machine()
    for wrong, passed in steps:
        machine.elapsed += passed
        machine.wrong = wrong if abs(wrong) > MINUTE * 2 else 0
        assert machine.steady.now_ms() == machine.right
    logging.disable(logging.NOTSET)
