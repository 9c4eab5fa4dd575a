"""Times as other systems read them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from butler_mqtt.contract.timestamps import stamp, stamp_ms


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2031, 1, 31, 9, 0, 0, 1_999, tzinfo=timezone(timedelta(hours=1)))
    assert stamp(moment) == "2031-01-31T08:00:00.001Z"
    assert stamp_ms(1_000) == "1970-01-01T00:00:01.000Z"


def test_no_time_stays_none() -> None:
    assert (stamp(None), stamp_ms(None)) == (None, None)
