"""Whoever is refused a thousand times a second does not fill the log."""

from __future__ import annotations

import logging

import pytest

from butler_mqtt.http.refused_calls import RefusedCalls


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_one_cause_is_a_line_a_minute_that_says_how_many_had_none(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = RefusedCalls(clock)
    for _ in range(1000):
        calls.unauthorized("no token from 10.0.0.1")
    clock.now = 61.0
    calls.unauthorized("no token from 10.0.0.1")
    calls.forbidden("a foreign page")
    assert warnings(caplog) == [
        "no token from 10.0.0.1",
        "no token from 10.0.0.1; 999 more were refused without a line",
        "a foreign page",
    ]


def test_causes_that_differ_each_time_are_so_many_lines_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = RefusedCalls(clock, most=3)
    for number in range(1000):
        calls.forbidden(f"page {number}")
    clock.now = 61.0
    calls.unauthorized("no token")
    assert warnings(caplog) == [
        *(f"page {number}" for number in range(3)),
        "no token; 997 more were refused without a line",
    ]


def test_each_is_there_at_debug(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "butler_mqtt.http")
    calls = RefusedCalls(clock)
    for _ in range(3):
        calls.unauthorized("no token")
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
