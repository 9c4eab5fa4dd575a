"""When a start is too late."""

from __future__ import annotations

import time

import pytest

from butler_mqtt.starting.conclusions import EXPIRED
from butler_mqtt.starting.deadlines import Deadlines
from tests.unit.starting.starts import run, start


@pytest.mark.parametrize(
    ("expires_at", "expired"), [(None, False), (1001, False), (1000, True), (0, True), (-1, True)]
)
def test_a_start_expires_at_the_moment_its_request_says(expires_at: int | None, expired: bool) -> None:
    found = Deadlines(60.0).of_start(start(expires_at=expires_at), 1000)
    assert (found is EXPIRED) is expired


def test_a_server_that_just_answered_has_the_whole_deadline_for_an_old_start() -> None:
    deadlines = Deadlines(60.0)
    assert deadlines.of_start(start(entered=0.0), 0) is None
    assert deadlines.of_run(run(since=0.0)) is None
    assert not deadlines.unreachable


def test_a_start_of_which_the_server_heard_nothing_in_time_is_given_up() -> None:
    deadlines = Deadlines(0.0)
    given_up = deadlines.of_run(run(since=time.monotonic()))
    assert given_up is not None
    assert given_up.code == "qrs_unavailable"
    assert given_up == deadlines.of_start(start(), 0)
    assert deadlines.unreachable


def test_a_start_that_came_just_now_is_not_given_up_for_an_outage_before_it() -> None:
    deadlines = Deadlines(60.0)
    assert deadlines.of_run(run(since=time.monotonic())) is None
