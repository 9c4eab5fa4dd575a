"""Messages on their way to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from butler_mqtt import outbox as outbox_module
from butler_mqtt.events import Refused
from butler_mqtt.journal import Journal, tables
from butler_mqtt.journal.unit import Unit
from butler_mqtt.model import Publication
from butler_mqtt.outbox import MAX_IN_MEMORY, MAX_REFUSALS, Outbox


class Records:
    """Notes what the outbox reports."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refusals: list[tuple[int, int]] = []
        self.aside: list[tuple[int, str]] = []

    def published(self, publication: Publication) -> None:
        self.taken.append(publication.id)

    def refused_by_broker(self, publication: Publication, refusals: int, reason: str) -> None:
        assert reason
        self.refusals.append((publication.id, refusals))

    def quarantined(self, publication: Publication, reason: str) -> None:
        self.aside.append((publication.id, reason))


class Wire:
    """Takes up to `room` publications."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.room = 10**6

    def __call__(self, publication: Publication) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.sent.append(publication.id)
        return True


def message(identity: int, request_id: str | None = None) -> Publication:
    return Publication(identity, "reply", b"{}", request_id or f"r{identity}")


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def outbox(records: Records, wire: Wire) -> Outbox:
    return Outbox(records, wire)


def pump_until(outbox: Outbox, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        outbox.pump()


def test_messages_are_published_in_order_and_once(outbox: Outbox, wire: Wire, records: Records) -> None:
    outbox.add([message(1), message(2), message(3)])
    outbox.pump()
    outbox.pump()
    assert wire.sent == [1, 2, 3]
    outbox.confirmed(2)
    assert records.taken == [2]
    assert len(outbox) == 2


def test_a_confirmation_counts_once(outbox: Outbox, records: Records) -> None:
    outbox.add([message(1)])
    outbox.pump()
    outbox.confirmed(1)
    outbox.confirmed(1)
    outbox.confirmed(99)
    assert records.taken == [1]
    assert len(outbox) == 0


def test_without_room_messages_wait_in_order(outbox: Outbox, wire: Wire) -> None:
    wire.room = 1
    outbox.add([message(1), message(2), message(3)])
    outbox.pump()
    assert wire.sent == [1]
    wire.room = 2
    outbox.pump()
    assert wire.sent == [1, 2, 3]


def test_what_a_lost_connection_left_unconfirmed_goes_first_and_in_order(outbox: Outbox, wire: Wire) -> None:
    wire.room = 3
    outbox.add([message(number) for number in range(1, 6)])
    outbox.pump()
    outbox.confirmed(2)
    outbox.lost([3, 1, 2])
    wire.room = 10
    outbox.pump()
    assert wire.sent == [1, 2, 3, 1, 3, 4, 5]


def test_a_refused_message_holds_up_its_own_request_only(outbox: Outbox, wire: Wire) -> None:
    wire.room = 1
    outbox.add([message(1, "a"), message(2, "a"), message(3, "b")])
    outbox.pump()
    outbox.refused(Refused(1, "quota", final=False))
    wire.room = 10
    outbox.pump()
    assert wire.sent == [1, 3]
    pump_until(outbox, lambda: wire.sent == [1, 3, 1])
    outbox.confirmed(1)
    outbox.pump()
    assert wire.sent == [1, 3, 1, 2]


def test_a_message_refused_five_times_is_set_aside_and_the_next_goes_on(
    outbox: Outbox, wire: Wire, records: Records
) -> None:
    outbox.add([message(1, "a")])
    for refusal in range(1, MAX_REFUSALS + 1):
        pump_until(outbox, lambda refusal=refusal: wire.sent.count(1) == refusal)  # type: ignore[misc]
        outbox.add([message(1 + refusal, "a")])
        outbox.refused(Refused(1, "quota", final=False))
    assert records.refusals == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert records.aside == [(1, "quota")]
    outbox.pump()
    assert wire.sent[MAX_REFUSALS:] == [2, 3, 4, 5, 6]


def test_a_final_refusal_sets_a_message_aside_at_once(outbox: Outbox, wire: Wire, records: Records) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.pump()
    outbox.refused(Refused(1, "the packet is too large", final=True))
    assert records.aside == [(1, "the packet is too large")]
    outbox.confirmed(2)
    assert len(outbox) == 0


def test_pauses_between_refusals_double(outbox: Outbox, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_SECONDS", 3600.0)
    outbox.add([message(1)])
    outbox.pump()
    outbox.refused(Refused(1, "quota", final=False))
    outbox.pump()
    assert wire.sent == [1]
    assert len(outbox) == 1


def test_a_message_offered_again_and_lost_with_the_connection_is_published(
    outbox: Outbox, wire: Wire
) -> None:
    outbox.add([message(1)])
    outbox.pump()
    outbox.refused(Refused(1, "quota", final=False))
    pump_until(outbox, lambda: wire.sent == [1, 1])
    outbox.lost([1])
    outbox.pump()
    assert wire.sent == [1, 1, 1]


def test_an_earlier_message_lost_while_a_later_one_is_refused_goes_before_it(
    outbox: Outbox, wire: Wire
) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.pump()
    outbox.refused(Refused(2, "quota", final=False))
    outbox.lost([1])
    outbox.pump()
    assert wire.sent == [1, 2, 1]
    outbox.confirmed(1)
    pump_until(outbox, lambda: wire.sent == [1, 2, 1, 2])


def test_two_refused_messages_of_a_request_keep_their_order(outbox: Outbox, wire: Wire) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.pump()
    outbox.refused(Refused(1, "quota", final=False))
    outbox.refused(Refused(2, "quota", final=False))
    outbox.add([message(3, "a")])
    pump_until(outbox, lambda: len(wire.sent) == 3)
    outbox.confirmed(1)
    outbox.pump()
    assert wire.sent == [1, 2, 1, 2, 3]


def test_messages_refused_in_the_other_order_keep_theirs(outbox: Outbox, wire: Wire) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.pump()
    outbox.refused(Refused(2, "quota", final=False))
    outbox.refused(Refused(1, "quota", final=False))
    pump_until(outbox, lambda: len(wire.sent) == 3)
    outbox.confirmed(1)
    outbox.pump()
    assert wire.sent == [1, 2, 1, 2]
    outbox.confirmed(2)
    assert len(outbox) == 0


# ---- a backlog in the journal


def _stored(journal: Journal, identities: range, **columns: str | int) -> None:
    unit = Unit()
    for identity in identities:
        unit.insert(
            tables.outbox,
            {
                "id": identity,
                "request": 1,
                "kind": "reply",
                "topic": "reply",
                "payload": b"{}",
                "request_id": f"r{identity}",
                "created_at": 0,
                "refusals": 0,
                **columns,
            },
        )
    journal.write(unit)


def test_a_backlog_larger_than_memory_is_published_whole_and_in_order(
    outbox: Outbox, wire: Wire, journal: Journal
) -> None:
    size = 2 * MAX_IN_MEMORY + 10
    _stored(journal, range(1, size + 1))
    with journal.transaction() as connection:
        outbox.load(connection)
    wire.room = 100
    outbox.pump()
    assert len(outbox) == MAX_IN_MEMORY
    # A new one goes behind those that are only on disk.
    _stored(journal, range(size + 1, size + 2))
    outbox.add([message(size + 1)])
    wire.room = 10**6
    for _ in range(5):
        with journal.transaction() as connection:
            outbox.refill(connection)
        outbox.pump()
    assert wire.sent == list(range(1, size + 2))


def test_more_new_messages_than_memory_holds_are_read_later(
    outbox: Outbox, wire: Wire, journal: Journal
) -> None:
    wire.room = 0
    size = MAX_IN_MEMORY + 50
    with journal.transaction() as connection:
        outbox.load(connection)
    _stored(journal, range(1, size + 1))
    outbox.add(message(number) for number in range(1, size + 1))
    assert len(outbox) == MAX_IN_MEMORY
    wire.room = 10**6
    for _ in range(3):
        outbox.pump()
        with journal.transaction() as connection:
            outbox.refill(connection)
    assert wire.sent == list(range(1, size + 1))


def test_what_was_set_aside_is_not_published_after_a_restart(
    outbox: Outbox, wire: Wire, journal: Journal
) -> None:
    _stored(journal, range(1, 2), quarantined_at=1, reason="quota")
    _stored(journal, range(2, 3))
    with journal.transaction() as connection:
        outbox.load(connection)
        assert len(connection.execute(select(tables.outbox)).all()) == 2
    outbox.pump()
    assert wire.sent == [2]


def test_refusals_are_counted_across_restarts(
    outbox: Outbox, wire: Wire, records: Records, journal: Journal
) -> None:
    _stored(journal, range(1, 2), refusals=MAX_REFUSALS - 1)
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.pump()
    assert wire.sent == [1]
    outbox.refused(Refused(1, "quota", final=False))
    assert records.aside == [(1, "quota")]
