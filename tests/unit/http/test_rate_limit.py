"""How often each caller may send a request."""

from __future__ import annotations

import pytest

from butler_mqtt.http.rate_limit import RateLimit


def test_a_caller_gets_its_burst_and_then_the_rate() -> None:
    now = 100.0
    limit = RateLimit(rate=2.0, burst=3.0, monotonic=lambda: now)
    assert [limit.wait("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.wait("a") == pytest.approx(0.5)
    assert limit.wait("b") == 0.0
    now += 0.5
    assert limit.wait("a") == 0.0
    assert limit.wait("a") > 0


def test_the_caller_not_seen_for_longest_is_forgotten_first() -> None:
    limit = RateLimit(rate=0.001, burst=1.0, max_callers=2, monotonic=lambda: 100.0)
    assert [limit.wait(caller) for caller in ("a", "b")] == [0.0, 0.0]
    assert limit.wait("a") > 0
    assert limit.wait("c") == 0.0
    assert limit.wait("a") > 0
    assert limit.wait("b") == 0.0
