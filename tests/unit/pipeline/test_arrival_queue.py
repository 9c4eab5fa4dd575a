"""Arrivals that wait for room, and turns that fail while they do."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.completions import SessionBegan
from butler_mqtt.domain.model import Arrival, Message
from butler_mqtt.pipeline.arrival_queue import ArrivalQueue


class Room:
    """Room for so many requests."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, coming: int) -> bool:
        return coming < self.room


@pytest.fixture
def room() -> Room:
    return Room(0)


@pytest.fixture
def held(room: Room) -> ArrivalQueue:
    return ArrivalQueue(room)


def rest(number: int) -> Arrival:
    return Arrival("rest", b"%d" % number, number)


def mqtt(number: int, generation: int) -> Arrival:
    message = Message("t", b"", packet_id=number, generation=generation)
    return Arrival("mqtt", b"%d" % number, number, message)


def test_without_others_and_with_room_nothing_is_held(held: ArrivalQueue, room: Room) -> None:
    room.room = 1
    assert not held.holds(rest(1), 0)
    assert held.holds(rest(2), 1)


def test_later_arrivals_do_not_overtake_those_that_are_held(held: ArrivalQueue, room: Room) -> None:
    first, second = rest(1), rest(2)
    assert held.holds(first, 0)
    room.room = 9
    assert held.holds(second, 0)
    assert held.release() == [first, second]
    assert len(held) == 0


def test_as_many_are_released_as_there_is_room_for(held: ArrivalQueue, room: Room) -> None:
    arrivals = [rest(number) for number in range(3)]
    for one in arrivals:
        held.holds(one, 0)
    room.room = 2
    assert held.release() == arrivals[:2]
    assert len(held) == 1


def test_a_turn_that_is_repeated_begins_with_what_was_held_at_the_last_commit(
    held: ArrivalQueue, room: Room
) -> None:
    held.holds(rest(1), 0)
    held.commit()
    room.room = 9
    held.begin()
    released = held.release()
    held.begin()
    assert held.release() == released


def test_messages_of_an_earlier_connection_are_forgotten(held: ArrivalQueue, room: Room) -> None:
    arrivals = [mqtt(1, generation=1), rest(2), mqtt(3, generation=2)]
    for one in arrivals:
        held.holds(one, 0)
    held.session_began(SessionBegan(2, True))
    room.room = 9
    assert held.release() == arrivals[1:]


def test_messages_of_a_session_that_the_broker_has_lost_stay(held: ArrivalQueue, room: Room) -> None:
    arrivals = [mqtt(1, generation=1), rest(2)]
    for one in arrivals:
        held.holds(one, 0)
    held.session_began(SessionBegan(2, False))
    room.room = 9
    assert held.release() == arrivals
