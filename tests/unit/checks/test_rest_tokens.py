"""When the bearer tokens of the REST door end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.checks.finding import State
from butler_mqtt.checks.rest_tokens import WARN_DAYS, check
from butler_mqtt.settings import RestSettings, Token

NOW = datetime(2031, 1, 31, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def found(*ends: datetime | None, enable: bool = True) -> list[tuple[State, str]]:
    tokens = tuple(Token(f"t{number}", "00", expires_at=end) for number, end in enumerate(ends))
    return [(one.state, one.text) for one in check(RestSettings(enable=enable, tokens=tokens), NOW)]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (NOW - DAY, State.WRONG),
        (NOW, State.WRONG),
        (NOW + timedelta(seconds=1), State.WARNING),
        (NOW + WARN_DAYS * DAY, State.WARNING),
        (NOW + (WARN_DAYS + 1) * DAY, State.OK),
        (datetime.max.replace(tzinfo=UTC), State.OK),
    ],
    ids=["over", "now", "soon", "last warning", "later", "never"],
)
def test_a_token_that_ends_soon_is_a_warning(end: datetime, state: State) -> None:
    assert [one for one, _ in found(end)] == [state]


def test_those_that_are_well_share_one_line_and_those_that_never_end_have_none() -> None:
    far = NOW + 100 * DAY
    assert found(far, far, None) == [(State.OK, "tokens expire: t0 in 100 days, t1 in 100 days")]
    assert found(None) == []


def test_nothing_is_said_while_the_listener_is_off() -> None:
    assert found(NOW - DAY, enable=False) == []
