"""Whether the clocks of a site agree."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.domain.model import Execution
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK
from butler_mqtt.starting.node_clocks import NodeClocks

NOW = datetime(2031, 1, 31, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WINDOW = (NOW, NOW + SECOND)


def differ(began: datetime | None) -> bool:
    clocks = NodeClocks()
    clocks.compare(Execution("execution", None, began, 2), WINDOW)
    return clocks.differ


@pytest.mark.parametrize(
    ("began", "differs"),
    [
        (NOW, False),
        (NOW - SERVER_CLOCK_SLACK, False),
        (NOW - SERVER_CLOCK_SLACK - timedelta(milliseconds=1), True),
        (NOW + SECOND + SERVER_CLOCK_SLACK, False),
        (NOW + SECOND + SERVER_CLOCK_SLACK + timedelta(milliseconds=1), True),
        (None, False),
    ],
    ids=["within", "earliest", "too early", "latest", "too late", "no stamp"],
)
def test_a_stamp_outside_of_the_time_of_the_post_shows_that_clocks_differ(
    began: datetime | None, differs: bool
) -> None:
    assert differ(began) is differs


def test_that_clocks_differ_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "butler_mqtt")
    clocks = NodeClocks()
    for _ in range(3):
        clocks.compare(Execution("execution", None, NOW - timedelta(hours=2), 2), WINDOW)
    assert [getattr(one, "action", "") for one in caplog.records] == ["clocks_differ"]
