"""Pauses grow to a limit, however long an outage lasts."""

from __future__ import annotations

import pytest

from butler_mqtt.qrs.retry_pauses import FIRST_PAUSE, LONGEST_PAUSE, pause_after


def test_the_first_pause_is_short_and_never_none() -> None:
    assert FIRST_PAUSE <= pause_after(1) <= 2 * FIRST_PAUSE


# 1,025 failures in a row were three hours without a server, and more than a float holds as a power of two.
@pytest.mark.parametrize("failures", [7, 100, 1_025, 100_000])
def test_a_pause_has_a_limit_after_any_number_of_failures(failures: int) -> None:
    assert LONGEST_PAUSE <= pause_after(failures) <= LONGEST_PAUSE + FIRST_PAUSE
