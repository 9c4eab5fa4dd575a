"""Alerts as they are kept in the journal."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.domain.alert import Alert, decode

ALERTS = st.builds(
    Alert,
    kind=st.text(),
    subject=st.text(),
    title=st.text(),
    at=st.integers(),
    task=st.text(),
    seconds=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    requests=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    more_requests=st.integers(0),
    in_a_row=st.integers(0),
    since=st.none() | st.integers(),
    script_log=st.lists(st.text(), max_size=3).map(tuple),
    count=st.integers(1),
)


@given(ALERTS)
def test_what_is_read_again_is_equal(alert: Alert) -> None:
    # What has no value is left out, and kind, subject and title always have one.
    if alert.kind and alert.subject and alert.title:
        assert decode(alert.encode()) == alert


def test_a_duration_and_a_moment_of_0_are_kept() -> None:
    alert = Alert("overdue", "task", "is overdue", 0, seconds=0.0, since=0)
    assert decode(alert.encode()) == alert


def test_keys_of_a_newer_version_are_left_out() -> None:
    written = json.loads(Alert("overdue", "task", "is overdue", 1).encode())
    assert decode(json.dumps({**written, "mood": "bad"})) == Alert("overdue", "task", "is overdue", 1)


def test_two_in_one_are_the_later_one_and_count_both() -> None:
    before = Alert("executionFailed", "task", "failed", 1, reason="old", count=2)
    later = Alert("executionFailed", "task", "failed", 5, reason="new", count=3)
    joined = before.joined(later)
    assert (joined.at, joined.reason, joined.count) == (5, "new", 5)
