"""How many messages are in hand, and whether more are taken."""

from __future__ import annotations

from butler_mqtt.mqtt.in_hand import PAUSE_SECONDS, InHand


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
            assert self.in_hand.has_room()
            assert self.in_hand.takes()
        assert not self.in_hand.has_room()
        return self.in_hand


def test_at_the_limit_nothing_more_is_read_however_long_nothing_is_done() -> None:
    seen = Seen()
    in_hand = seen.full()
    seen.now = 3600.0
    assert not in_hand.has_room()


def test_it_is_read_again_when_half_of_them_are_done_with() -> None:
    seen = Seen()
    in_hand = seen.full()
    for _ in range(4):
        in_hand.done()
        assert not in_hand.has_room()
    assert seen.wakes == 0
    in_hand.done()
    assert seen.wakes == 1
    assert in_hand.has_room()


def test_while_little_is_done_what_there_is_room_for_is_read_after_a_pause() -> None:
    seen = Seen()
    in_hand = seen.full()
    in_hand.done()
    assert not in_hand.has_room()
    seen.now = PAUSE_SECONDS
    assert in_hand.has_room()
    assert in_hand.takes()
    assert not in_hand.has_room()


def test_what_comes_beyond_the_limit_is_left_out_with_all_that_follows() -> None:
    in_hand = Seen().full()
    assert not in_hand.takes()
    for _ in range(10):
        in_hand.done()
    assert not in_hand.takes()


def test_a_limit_of_one_lets_each_message_wait_for_the_one_before() -> None:
    in_hand = InHand(1, lambda: None)
    for _ in range(2):
        assert in_hand.has_room()
        assert in_hand.takes()
        assert not in_hand.has_room()
        in_hand.done()
