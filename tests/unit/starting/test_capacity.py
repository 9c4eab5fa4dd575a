"""How many executions of ours may run at one time."""

from __future__ import annotations

import pytest

from butler_mqtt.starting.capacity import Capacity


@pytest.mark.parametrize(("configured", "limit"), [(0, None), (1, 1), (8, 8)])
def test_a_number_is_the_limit_and_nobody_is_asked(configured: int, limit: int | None) -> None:
    asked: list[None] = []
    assert Capacity(configured, 0.0, lambda: asked.append(None)).limit() == limit
    assert asked == []


def test_there_is_no_limit_until_the_site_has_said_one() -> None:
    asked: list[None] = []
    capacity = Capacity("auto", 1000.0, lambda: asked.append(None))
    assert capacity.limit() is None
    capacity.read(4)
    assert capacity.limit() == 4
    capacity.read(0)
    assert capacity.limit() is None
    assert len(asked) == 1


def test_the_site_is_asked_again_when_the_interval_is_over() -> None:
    asked: list[None] = []
    capacity = Capacity("auto", 0.0, lambda: asked.append(None))
    capacity.limit()
    capacity.limit()
    assert len(asked) == 2
