"""What is handed in is taken a turn's worth at a time, and nothing of it is lost."""

from __future__ import annotations

from datetime import UTC, datetime

from butler_mqtt.domain.completions import PublicationConfirmed, PublisherReady
from butler_mqtt.domain.model import Arrival
from butler_mqtt.pipeline.event_queue import MAX_EVENTS, EventQueue

ARRIVAL = Arrival("rest", b"{}", int(datetime.now(UTC).timestamp() * 1000))


def test_all_that_is_there_is_taken_at_once_in_its_order() -> None:
    event_queue = EventQueue()
    for number in range(3):
        event_queue.put(PublicationConfirmed(number))
    event_queue.put(ARRIVAL)
    assert event_queue.take(0, linger=True) == [
        PublicationConfirmed(0),
        PublicationConfirmed(1),
        PublicationConfirmed(2),
        ARRIVAL,
    ]


def test_no_more_than_a_turns_worth_is_taken() -> None:
    event_queue = EventQueue()
    for number in range(MAX_EVENTS + 1):
        event_queue.put(PublicationConfirmed(number))
    assert len(event_queue.take(0, linger=False)) == MAX_EVENTS
    assert event_queue.take(0, linger=False) == [PublicationConfirmed(MAX_EVENTS)]


def test_confirmations_without_company_are_taken_after_a_moment() -> None:
    event_queue = EventQueue()
    event_queue.put(PublicationConfirmed(1))
    event_queue.put(PublisherReady())
    assert event_queue.take(0, linger=True) == [PublicationConfirmed(1), PublisherReady()]


def test_a_wake_ends_the_waiting_with_nothing() -> None:
    event_queue = EventQueue()
    event_queue.wake()
    assert event_queue.take(60, linger=True) == []
