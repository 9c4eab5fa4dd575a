"""A daemon to which nothing happens turns all the same, and sees what becomes of its journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.journal.file_guard import JournalLost
from butler_mqtt.pipeline.event_queue import EventQueue
from butler_mqtt.pipeline.loop_timings import LoopTimings
from tests.pipeline.harness import Harness


def test_an_idle_daemon_sees_several_times_a_second_that_its_journal_is_gone(harness: Harness) -> None:
    """Any turn sees it, one without events too, and the loop waits for events no longer than that."""
    for _ in range(3):
        harness.step()
    Path(f"{harness.path}-wal").unlink()
    with pytest.raises(JournalLost):
        harness.pipeline.turn(0.0)
    assert LoopTimings().tidy_seconds <= 0.25


def test_without_events_the_queue_lets_the_loop_turn() -> None:
    assert list(EventQueue().take(0.0, linger=False)) == []
