"""How the time that is left is told."""

from __future__ import annotations

import pytest

from butler_mqtt.domain import days_left


@pytest.mark.parametrize(("days", "words"), [(0, "in less than a day"), (1, "in 1 day"), (2, "in 2 days")])
def test_less_than_a_day_is_not_told_as_none(days: int, words: str) -> None:
    assert days_left.within(days) == words
