"""How many runs are with the POST workers at one time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.starting.posts_in_flight import FIRST_WINDOW, LARGEST_WINDOW, OUTCOMES_FOR_MORE, PostWindow


def test_few_are_in_flight_at_first() -> None:
    assert PostWindow(3).size(idle=3) == 3 * FIRST_WINDOW


def test_outcomes_and_idle_threads_with_work_ready_let_it_grow() -> None:
    window = PostWindow(1)
    window.recorded(OUTCOMES_FOR_MORE)
    assert window.size(idle=0) == FIRST_WINDOW + 1
    window.full = True
    assert window.size(idle=0) == FIRST_WINDOW + 1
    assert window.size(idle=1) == 2 * (FIRST_WINDOW + 1)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans(), st.integers(0, 8)), max_size=20))
def test_it_never_shrinks_and_has_an_end(steps: list[tuple[int, bool, int]]) -> None:
    window, before = PostWindow(8), 0
    for outcomes, full, idle in steps:
        window.recorded(outcomes)
        window.full = full
        size = window.size(idle)
        assert max(before, 8 * FIRST_WINDOW) <= size <= 8 * LARGEST_WINDOW
        before = size
