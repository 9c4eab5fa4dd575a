"""What is handed in is taken a turn's worth at a time, and nothing of it is lost."""

from __future__ import annotations

from datetime import UTC, datetime

from butler_mqtt.domain.completions import Confirmed, Room
from butler_mqtt.domain.model import Arrival
from butler_mqtt.pipeline.event_queue import MAX_EVENTS, Inbox

ARRIVAL = Arrival("rest", b"{}", int(datetime.now(UTC).timestamp() * 1000))


def test_all_that_is_there_is_taken_at_once_in_its_order() -> None:
    inbox = Inbox()
    for number in range(3):
        inbox.put(Confirmed(number))
    inbox.put(ARRIVAL)
    assert inbox.take(0, linger=True) == [Confirmed(0), Confirmed(1), Confirmed(2), ARRIVAL]


def test_no_more_than_a_turns_worth_is_taken() -> None:
    inbox = Inbox()
    for number in range(MAX_EVENTS + 1):
        inbox.put(Confirmed(number))
    assert len(inbox.take(0, linger=False)) == MAX_EVENTS
    assert inbox.take(0, linger=False) == [Confirmed(MAX_EVENTS)]


def test_confirmations_without_company_are_taken_after_a_moment() -> None:
    inbox = Inbox()
    inbox.put(Confirmed(1))
    inbox.put(Room())
    assert inbox.take(0, linger=True) == [Confirmed(1), Room()]


def test_a_wake_ends_the_waiting_with_nothing() -> None:
    inbox = Inbox()
    inbox.wake()
    assert inbox.take(60, linger=True) == []
