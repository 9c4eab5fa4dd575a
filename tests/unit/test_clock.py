"""Moments in the journal that outlive the process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from butler_mqtt import clock

NOW = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp() * 1000)


def test_the_seconds_since_a_moment_count_from_the_start_of_the_machine() -> None:
    stored = clock.moment()
    assert 0 <= clock.seconds_since(stored) < 60
    assert clock.seconds_since(stored - 5000) >= 5


@pytest.mark.parametrize("stored", [0, NOW, clock.moment() ^ (1 << 50)], ids=["none", "time", "other"])
def test_a_moment_of_another_boot_is_no_time_ago(stored: int) -> None:
    """So does one that an older version stored as a time of the clock."""
    assert clock.seconds_since(stored) == 0


def test_a_system_that_does_not_name_its_boot_has_no_number(tmp_path: Path) -> None:
    assert clock.boot_number(tmp_path / "missing") == 0
