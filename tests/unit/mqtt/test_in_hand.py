"""How many messages are in hand, and whether more are read."""

from __future__ import annotations

from butler_mqtt.mqtt.in_hand import PATIENCE_SECONDS, InHand


class Seen:
    """A limit of ten, the wakes it asked for, and a clock that stands."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wakes = 0
        self.in_hand = InHand(10, self._woken, monotonic=lambda: self.now)

    def _woken(self) -> None:
        self.wakes += 1

    def full(self) -> InHand:
        for _ in range(10):
            assert self.in_hand.may_read()
            self.in_hand.came()
        return self.in_hand


def test_at_the_limit_nothing_more_is_read() -> None:
    assert not Seen().full().may_read()


def test_it_is_read_again_when_half_of_them_are_done_with() -> None:
    seen = Seen()
    in_hand = seen.full()
    assert not in_hand.may_read()
    for _ in range(4):
        in_hand.done()
        assert not in_hand.may_read()
    assert seen.wakes == 0
    in_hand.done()
    assert seen.wakes == 1
    assert in_hand.may_read()


def test_while_nothing_is_done_with_it_is_read_again_before_the_connection_is_given_up() -> None:
    seen = Seen()
    in_hand = seen.full()
    assert not in_hand.may_read()
    seen.now = PATIENCE_SECONDS
    assert in_hand.may_read()
    in_hand.came()
    assert in_hand.may_read()
    in_hand.done()
    assert not in_hand.may_read()


def test_a_limit_of_one_lets_each_message_wait_for_the_one_before() -> None:
    in_hand = InHand(1, lambda: None)
    for _ in range(2):
        assert in_hand.may_read()
        in_hand.came()
        assert not in_hand.may_read()
        in_hand.done()
