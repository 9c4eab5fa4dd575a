"""Durations, times and states in words; the drawing of runs."""

from __future__ import annotations

import pytest

from butler_mqtt.clock import FIRST_MS, LAST_MS, now_ms
from butler_mqtt.http.page.run_bars import run_bars
from butler_mqtt.http.page.wording import duration, moment, when, words


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0, "0.0 s"),
        (812, "0.8 s"),
        (9_949, "9.9 s"),
        (9_951, "10 s"),
        (59_600, "1 min"),
        (185_000, "3 min 5 s"),
        (7_800_000, "2 h 10 min"),
        (3_600_000, "1 h"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_a_duration_has_two_units_at_most(milliseconds: int | None, text: str) -> None:
    assert duration(milliseconds) == text


def test_today_and_yesterday_are_named_and_years_only_if_another() -> None:
    day = 86_400_000
    assert moment(now_ms()).startswith("Today ")
    assert moment(now_ms() - day).startswith("Yesterday ")
    assert moment(0).startswith(("1 Jan 1970 ", "31 Dec 1969 "))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("notStarted", "not started"),
        ("3 skippedByQlik, 1 failed", "3 skipped by Qlik, 1 failed"),
        ("refused: all_must_exist", "refused: all_must_exist"),
    ],
)
def test_a_state_is_written_as_words(state: str, text: str) -> None:
    assert words(state) == text


def test_each_run_is_a_bar_and_a_failure_has_a_mark_besides_its_colour() -> None:
    def run(result: str, milliseconds: int) -> dict[str, object]:
        return {
            "receivedAt": "2031-01-31T08:00:00Z",
            "state": result,
            "result": result,
            "durationMs": milliseconds,
        }

    drawn = run_bars([run("failed", 100), run("succeeded", 1000), run("succeeded", 900)])
    assert drawn.count("<rect") == 3
    assert drawn.count("<path") == 1
    assert 'aria-label="Last runs: 2 succeeded, 1 failed"' in drawn
    assert "style" not in drawn


def test_no_text_of_a_run_becomes_part_of_the_drawing() -> None:
    hostile = {"receivedAt": "2031-01-31T08:00:00Z", "state": '"><script>', "requestId": "x"}
    assert "<script" not in run_bars([hostile])
    assert "none" in run_bars([])


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("time", [FIRST_MS, LAST_MS, "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z"])
def test_the_ends_of_the_calendar_are_shown(time: int | str) -> None:
    assert str(when(time)).startswith("<time datetime=")
