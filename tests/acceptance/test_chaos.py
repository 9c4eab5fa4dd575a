"""The short form of `benchmarks.chaos`: kills of daemon and broker under load and faults."""

from __future__ import annotations

import pytest

from benchmarks.chaos import Chaos, Plan

pytestmark = pytest.mark.long


def test_after_twenty_kills_every_delivery_is_answered_and_every_task_started_once() -> None:
    """Books of sender, journal and server agree; nothing is unknown."""
    result = Chaos(Plan(kills=20, seed=20), progress=False).run()
    assert result.account.faults == [], result.text()
    assert result.account.numbers["executions on the server"] == result.account.numbers["requests"]
