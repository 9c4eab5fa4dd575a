"""How long to wait before the next attempt to reach the broker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.mqtt.reconnect_pauses import MAX_BACKOFF_SECONDS, STABLE_SECONDS, ReconnectPauses


@given(st.integers(1, 200))
def test_pauses_grow_and_never_beyond_the_longest(failures: int) -> None:
    pauses = ReconnectPauses(MAX_BACKOFF_SECONDS)
    for number in range(failures):
        assert 0.2 <= pauses.next(None, refused=False) <= min(2.0**number, MAX_BACKOFF_SECONDS)


def test_a_connection_that_lasted_ends_the_series_unless_it_was_refused() -> None:
    pauses = ReconnectPauses(MAX_BACKOFF_SECONDS)
    for _ in range(10):
        pauses.next(None, refused=True)
    assert pauses.next(STABLE_SECONDS, refused=False) <= 1.0
    # With full jitter a single wait may be short by chance.
    for _ in range(10):
        pauses.next(None, refused=False)
    assert max(pauses.next(STABLE_SECONDS, refused=True) for _ in range(50)) > 1.0
    assert max(pauses.next(STABLE_SECONDS - 1, refused=False) for _ in range(50)) > 1.0
