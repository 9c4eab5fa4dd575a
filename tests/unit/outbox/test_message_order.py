"""Which message of a request waits for which."""

from __future__ import annotations

from butler_mqtt.domain.model import Publication
from butler_mqtt.outbox.message_order import MessageOrder


def message(identity: int, request_id: str = "r") -> Publication:
    return Publication(identity, "reply", b"{}", request_id)


def ids(publications: list[Publication]) -> list[int]:
    return [one.id for one in publications]


def test_without_a_refused_message_none_waits() -> None:
    assert not MessageOrder().wait(message(1))


def test_later_messages_of_the_request_wait_and_are_released_in_order() -> None:
    held = MessageOrder()
    assert held.hold_up(message(1))
    assert held.wait(message(3))
    assert held.wait(message(2))
    assert not held.wait(message(4, "another"))
    assert len(held) == 2
    assert ids(held.release(message(1))) == [2, 3]
    assert len(held) == 0
    assert not held.wait(message(5))


def test_one_that_is_refused_behind_another_waits_itself() -> None:
    held = MessageOrder()
    assert held.hold_up(message(1))
    assert not held.hold_up(message(2))
    assert held.release(message(2)) == []
    assert ids(held.release(message(1))) == [2]


def test_an_earlier_one_that_is_refused_later_goes_first() -> None:
    held = MessageOrder()
    assert held.hold_up(message(2))
    assert held.wait(message(3))
    assert held.hold_up(message(1))
    assert held.wait(message(2))
    assert ids(held.release(message(1))) == [2, 3]
