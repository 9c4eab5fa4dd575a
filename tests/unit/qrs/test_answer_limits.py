"""How long and how large one answer may be."""

from __future__ import annotations

import pytest

from butler_mqtt.qrs.answer_limits import AnswerTooLarge, AnswerTooSlow, Limits, Meter


def meter(seconds: float = 1000.0, **limits: int) -> Meter:
    made = Meter(Limits(seconds, **limits))
    made.begin()
    return made


def test_a_head_may_have_as_many_bytes_as_allowed_whatever_they_come_in() -> None:
    reading = meter(head_bytes=10)
    reading.received(4)
    reading.received(6)
    with pytest.raises(AnswerTooLarge, match="more than 10 bytes of headers"):
        reading.received(1)


def test_a_body_is_counted_from_its_own_beginning() -> None:
    reading = meter(head_bytes=10, body_bytes=5)
    reading.received(10)
    reading.body()
    reading.received(5)
    with pytest.raises(AnswerTooLarge, match="the answer has more than 5 bytes"):
        reading.received(1)


def test_a_head_has_a_time_however_many_bytes_come_and_a_body_more_with_each() -> None:
    reading = meter(0.0, bytes_per_second=1)
    reading.received(1000)
    with pytest.raises(AnswerTooSlow, match="not complete to the end of its headers"):
        reading.left()
    reading.body()
    with pytest.raises(AnswerTooSlow, match="not whole"):
        reading.left()
    reading.received(1000)
    assert 900 < reading.left() <= 1000


def test_a_new_call_has_sent_nothing_and_all_its_limits() -> None:
    reading = meter(head_bytes=1)
    reading.received(1)
    assert reading.sent
    reading.reset()
    assert not reading.sent
    reading.begin()
    reading.received(1)
