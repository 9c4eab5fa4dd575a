"""What the last starts of a task say: its runs, its usual duration, its rhythm."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.contract.task_status import next_expected_ms, runs, usual_duration_ms

HOUR = 3_600_000


def start(**fields: Any) -> dict[str, Any]:
    return {"state": "succeeded", "run": None, "result": "succeeded", "duration_ms": 1, **fields}


def arrived(*hours: float) -> list[dict[str, Any]]:
    """Return starts that arrived at these hours, the newest first."""
    return [start(received_at=round(hour * HOUR)) for hour in reversed(hours)]


def test_starts_that_share_a_run_count_as_one() -> None:
    shared = [start(run=1), start(run=1), start(run=2), start(state="skipped", run=3)]
    assert [one["run"] for one in runs(shared)] == [1, 2]


def test_the_usual_duration_is_the_median_of_what_succeeded() -> None:
    durations = [start(run=number, duration_ms=number * 10) for number in (1, 2, 9)]
    failed = start(run=4, result="failed", duration_ms=1)
    assert usual_duration_ms([failed, *durations]) == 20
    assert usual_duration_ms([failed]) is None


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ((0, 24, 48, 72), 96),
        ((0, 24.1, 47.9, 72), 96),
        ((0, 24, 48, 72, 73), 97),
        ((0, 24, 48), None),
        ((0, 1, 30, 31), None),
        ((0, 0.001, 0.002, 0.003), None),
    ],
    ids=["daily", "nearly", "one more between", "too few", "no rhythm", "a burst"],
)
def test_the_next_request_is_expected_only_after_regular_ones(
    hours: tuple[float, ...], expected: float | None
) -> None:
    found = next_expected_ms(arrived(*hours))
    assert (None if found is None else round(found / HOUR)) == expected
