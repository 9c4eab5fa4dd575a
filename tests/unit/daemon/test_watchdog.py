"""Proof of progress of every thread."""

from __future__ import annotations

import pytest

from butler_mqtt.daemon.watchdog import CallTimes, Progress


def test_a_thread_is_stuck_only_beyond_the_time_it_may_take() -> None:
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.watch("busy", lambda: 0.0, 10.0)
    progress.watch("idle", lambda: None, 10.0)
    now[0] = 10.0
    assert progress.stuck() == ()
    now[0] = 10.5
    assert progress.stuck() == ("busy (10 s)",)


def test_a_call_is_in_hand_until_it_returns_or_raises() -> None:
    class Target:
        def work(self, number: int) -> float | None:
            if number < 0:
                raise ValueError("negative")
            return calls.since()

    calls = CallTimes(Target(), lambda: 7.0)
    assert calls.since() is None
    assert calls.work(1) == 7.0
    assert calls.since() is None
    with pytest.raises(ValueError, match="negative"):
        calls.work(-1)
    assert calls.since() is None
