"""Pauses while the Qlik server is unreachable."""

from __future__ import annotations

from butler_mqtt.resolving.outage_backoff import Backoff


def test_tries_that_fail_together_count_as_one_failure() -> None:
    backoff = Backoff(60.0)
    assert max(backoff.failed() for _ in range(10)) <= 0.5
    assert backoff.failing
    assert backoff.paused


def test_what_the_server_asks_for_is_bounded_too() -> None:
    assert Backoff(10.0).failed(3600.0) == 10.0
    assert Backoff(10.0).failed(3.0) == 3.0


def test_after_a_success_there_is_no_pause() -> None:
    backoff = Backoff(60.0)
    backoff.failed()
    backoff.succeeded()
    assert not backoff.failing
    assert not backoff.paused
