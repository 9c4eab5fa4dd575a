"""The short form of `benchmarks.redelivery`: 300 requests without ids through a slow broker."""

from __future__ import annotations

import pytest

from benchmarks.redelivery import run

REQUESTS = 300

pytestmark = pytest.mark.long


@pytest.mark.parametrize("disturbance", ["daemon", "restart", "slow"])
def test_each_task_is_started_once_although_no_request_has_an_id(disturbance: str) -> None:
    account = run(REQUESTS, "ours", disturbance, parts=1)
    assert account.faults == [], account.text()
    assert account.numbers["executions on the server"] == REQUESTS
