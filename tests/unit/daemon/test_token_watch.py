"""Tokens that end: warned of once a day from fourteen days before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.checks import rest_tokens
from butler_mqtt.daemon.token_watch import TokenWatch, remaining
from butler_mqtt.settings import RestSettings, Token

NOW = datetime(2031, 1, 31, 8, tzinfo=UTC)


def rest(**days: float | None) -> RestSettings:
    """Return a listener with tokens that end after so many days."""
    tokens = [
        Token(name, "00", expires_at=None if after is None else NOW + timedelta(days=after))
        for name, after in days.items()
    ]
    return RestSettings(enable=True, tokens=tuple(tokens))


def test_tokens_that_end_soon_or_have_ended_are_warned_of_once_a_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = TokenWatch(rest(ended=-1, soon=13, later=15, never=None))
    for _ in range(3):
        watch.check(NOW)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the token ended has expired and is refused",
        "the token soon expires in 13 days",
    ]
    watch.reconfigured(rest(new=1))
    watch.check(NOW)
    assert caplog.records[-1].getMessage().startswith("the token new expires in 1 day")


def test_tokens_of_a_listener_that_is_off_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    TokenWatch(RestSettings(tokens=rest(ended=-1).tokens)).check(NOW)
    assert caplog.records == []


def test_the_seconds_that_are_left_are_by_name() -> None:
    assert remaining(rest(soon=1, never=None).tokens, NOW) == {"soon": 86_400.0}


def test_the_check_tells_when_tokens_end() -> None:
    found = [(one.state.value, one.text) for one in rest_tokens.check(rest(a=-1, b=3, c=100, d=None), NOW)]
    assert found == [
        ("wrong", "the token a has expired and is refused"),
        ("warning", "the token b expires in 3 days"),
        ("ok", "tokens expire: c in 100 days"),
    ]
    assert list(rest_tokens.check(rest(d=None), NOW)) == []
