"""The drawing of a task's last runs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.http.page.run_bars import ROOM, STEP, TALLEST, run_bars


def run(state: str = "succeeded", took: int | None = 1000, **more: object) -> dict[str, object]:
    return {"state": state, "durationMs": took, "receivedAt": 0, **more}


def heights(drawing: str) -> list[int]:
    return [int(one) for one in re.findall(r'<rect [^>]*height="(-?[0-9]+)"', drawing)]


def test_the_longest_run_is_as_high_as_there_is_room_and_the_newest_stands_right() -> None:
    drawing = run_bars([run(took=500), run(took=1000)])
    assert heights(drawing) == [TALLEST, TALLEST // 2]
    assert f'x="{(ROOM - 1) * STEP}"' in drawing


def test_without_runs_there_is_the_ground_alone() -> None:
    assert heights(run_bars([])) == []
    assert 'aria-label="Last runs: none"' in run_bars([])


def test_outcomes_are_counted_in_words_and_failures_have_a_mark() -> None:
    drawing = run_bars([run("failed"), run(), run(), run("running", None)])
    assert 'aria-label="Last runs: 1 running, 2 succeeded, 1 failed"' in drawing
    assert drawing.count('<path class="bad"') == 1


def test_how_an_execution_ended_counts_for_a_start_that_was_skipped() -> None:
    assert "1 failed" in run_bars([run("skipped", result="failed")])


def test_texts_of_others_are_escaped() -> None:
    drawing = run_bars([run('<b>"x"</b>')])
    assert "<b>" not in drawing
    assert "&lt;b&gt;" in drawing


@given(st.lists(st.none() | st.integers(-(10**6), 10**12), max_size=2 * ROOM))
def test_no_bar_leaves_the_drawing(durations: list[int | None]) -> None:
    found = heights(run_bars([run(took=one) for one in durations]))
    assert len(found) == min(len(durations), ROOM)
    assert all(0 < one <= TALLEST for one in found)
