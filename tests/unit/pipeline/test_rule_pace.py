"""How much of the time messages for rules take beside requests."""

from __future__ import annotations

import pytest

from butler_mqtt.pipeline.rule_pace import (
    BUSY_SECONDS,
    BUSY_SHARE,
    BUSY_SLICE_SECONDS,
    LONGEST_WAIT_SECONDS,
    PRESSED_SECONDS,
    PRESSED_SHARE,
    SLICE_SECONDS,
    RulePace,
)


class Judging:
    """A pace on a clock that each message moves on by what it costs."""

    def __init__(self, cost: float = 0.0001) -> None:
        self.now = 1000.0
        self.cost = cost
        self.count = 0
        self.pace = RulePace(lambda: self.now)

    def slice(self) -> float:
        """Judge as long as may be; return how long that was."""
        began = self.now
        self.pace.judge(self._judge)
        return self.now - began

    def _judge(self) -> bool:
        self.now += self.cost
        self.count += 1
        return True

    def share(self, between: float, *, seconds: float = 20.0) -> float:
        """Return the share of the time that judging has while something of a request comes so often."""
        began, spent, request_at = self.now, 0.0, self.now
        while self.now < began + seconds:
            if self.now >= request_at:
                self.pace.request_came()
                request_at = self.now + between
            if not self.pace.waits():
                spent += self.slice()
            self.now = min(self.now + max(self.pace.next_turn(), 1e-4), max(self.now + 1e-4, request_at))
        return spent / (self.now - began)


def test_at_rest_messages_are_judged_turn_after_turn() -> None:
    judging = Judging()
    for _ in range(3):
        assert judging.pace.waits() == 0
        assert judging.slice() == pytest.approx(SLICE_SECONDS, rel=0.1)


def test_beside_requests_a_slice_is_short() -> None:
    judging = Judging()
    judging.pace.request_came()
    assert judging.slice() == pytest.approx(BUSY_SLICE_SECONDS, rel=0.2)


def test_a_message_is_judged_however_long_it_takes() -> None:
    judging = Judging(cost=0.05)
    judging.pace.request_came()
    judging.slice()
    assert judging.count == 1


@pytest.mark.parametrize(
    ("between", "share"), [(0.0014, PRESSED_SHARE), (0.05, BUSY_SHARE), (0.2, BUSY_SHARE)]
)
def test_the_share_depends_on_how_densely_requests_come(between: float, share: float) -> None:
    assert Judging().share(between) == pytest.approx(share, rel=0.35)


def test_requests_without_a_pause_hold_messages_up_for_a_second_at_most() -> None:
    judging = Judging(cost=0.3)
    judging.pace.request_came()
    judging.slice()
    judging.pace.request_came()
    assert judging.pace.waits() == pytest.approx(LONGEST_WAIT_SECONDS)


def test_once_requests_have_ended_there_is_no_wait_any_more() -> None:
    judging = Judging()
    judging.pace.request_came()
    judging.slice()
    judging.pace.request_came()
    assert 0 < judging.pace.next_turn() <= PRESSED_SECONDS + BUSY_SLICE_SECONDS
    judging.now += BUSY_SECONDS
    assert judging.pace.next_turn() == 0
