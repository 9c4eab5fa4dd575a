"""Moments in the journal that outlive the process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt import clock
from butler_mqtt.clock import FIRST_MS, LAST_MS, from_ms, to_ms

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


@given(st.integers())
@example(LAST_MS + 1)
@example(FIRST_MS - 1)
def test_any_number_in_the_journal_can_be_shown(moment: int) -> None:
    shown = from_ms(moment)
    assert shown is not None
    assert to_ms(shown) == min(max(moment, FIRST_MS), LAST_MS)


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))])
    )
)
@example(datetime.max.replace(tzinfo=UTC))
@example(datetime.min.replace(tzinfo=UTC))
def test_any_time_is_kept_to_the_millisecond(moment: datetime) -> None:
    kept = to_ms(moment)
    assert kept is not None
    shown = from_ms(kept)
    assert shown is not None
    # Beyond the calendar of UTC there is only its end.
    assert FIRST_MS <= kept <= LAST_MS or kept < FIRST_MS


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("moment", [FIRST_MS, 0, LAST_MS])
def test_a_time_of_this_zone_is_the_same_moment_at_the_ends_of_the_calendar_too(moment: int) -> None:
    when = from_ms(moment)
    assert when is not None
    assert clock.local(when) == when
