"""The short form of `benchmarks.storm`: 2,000 requests from 50 senders at once."""

from __future__ import annotations

import pytest

from benchmarks.storm import STORMS

REQUESTS = 2000

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_is_answered_to_the_last_delivery_with_bounded_memory(name: str) -> None:
    """Nothing is lost or repeated, order and pace are kept, whatever was away."""
    account = STORMS[name](REQUESTS)
    assert account.faults == [], account.text()
    assert account.numbers["MB at most"] > 0
