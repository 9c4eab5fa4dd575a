from __future__ import annotations

import pytest

from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.hangups import LATER_SECONDS, RETRY_SECONDS, Hangups


class Clock:
    """Time as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


SHORT = Ended("closed", lasted=0.1)
LONG = Ended("closed", lasted=60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hangups(clock: Clock) -> Hangups:
    return Hangups("status", clock)


def closed(hangups: Hangups, *ends: Ended) -> list[bool]:
    """Let connections end; return what was reported after each."""
    said = []
    for end in ends:
        hangups.accepted()
        said.append(hangups.closed(end) is not None)
    return said


def test_three_in_a_row_leave_the_status_out_and_name_what_was_sent_last(hangups: Hangups) -> None:
    closed(hangups, SHORT, SHORT)
    assert (hangups.with_status, hangups.suspicion) == (True, "")
    hangups.sent("this and that")
    reported = hangups.closed(SHORT)
    assert reported is not None
    assert "last sent: this and that" in reported
    assert (hangups.with_status, hangups.suspicion) == (False, "last sent: this and that")


@pytest.mark.parametrize(
    "between",
    [
        Ended("connection refused"),
        LONG,
        Ended("shutting down", lasted=0.1, code=0x8B),
        Ended("closed", lasted=0.1, ours=True),
    ],
    ids=["failed attempt", "long connection", "the broker said that it restarts", "closed by us"],
)
def test_anything_else_in_between_begins_the_count_anew(hangups: Hangups, between: Ended) -> None:
    assert closed(hangups, SHORT, SHORT, between, SHORT, SHORT, SHORT) == [False] * 5 + [True]


def test_a_status_that_was_not_to_blame_comes_back(hangups: Hangups) -> None:
    closed(hangups, *[SHORT] * 6)
    assert hangups.with_status


def test_a_series_that_does_not_end_is_reported_ever_less_often(hangups: Hangups) -> None:
    said = closed(hangups, *[SHORT] * 100)
    assert [number + 1 for number, reported in enumerate(said) if reported] == [3, 6, 12, 24, 48, 96]


def test_after_a_good_minute_the_status_is_tried_again(hangups: Hangups, clock: Clock) -> None:
    closed(hangups, SHORT, SHORT, SHORT)
    hangups.accepted()
    clock.now += RETRY_SECONDS - 1
    assert not hangups.retry()
    clock.now += 1
    assert hangups.retry()
    assert hangups.with_status
    assert not hangups.retry()


def test_a_try_that_fails_leaves_it_out_at_once_and_for_longer(hangups: Hangups, clock: Clock) -> None:
    closed(hangups, SHORT, SHORT, SHORT)
    clock.now += RETRY_SECONDS
    assert hangups.retry()
    assert closed(hangups, Ended("left", lasted=60.0, ours=True), SHORT) == [False, True]
    assert not hangups.with_status
    hangups.accepted()
    clock.now += LATER_SECONDS - 1
    assert not hangups.retry()
    clock.now += 1
    assert hangups.retry()


def test_a_try_that_succeeds_ends_it(hangups: Hangups, clock: Clock) -> None:
    closed(hangups, SHORT, SHORT, SHORT)
    clock.now += RETRY_SECONDS
    assert hangups.retry()
    assert closed(hangups, Ended("left", lasted=60.0, ours=True), LONG, SHORT, SHORT) == [False] * 4
    assert hangups.with_status
