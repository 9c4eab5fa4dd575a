"""Messages for the broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select

from butler_mqtt.domain.completions import PublicationRefused
from butler_mqtt.domain.model import Publication
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import WriteBatch
from butler_mqtt.outbox.hangup_suspects import MAX_LOSSES, QUIET_SECONDS, SOON_SECONDS, Suspects
from butler_mqtt.outbox.outbox import MAX_IN_MEMORY, MAX_REFUSALS, Outbox


class Records:
    """Notes what the outbox reports."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refusals: list[tuple[int, int]] = []
        self.suspects: list[tuple[int, int]] = []
        self.dead_letters: list[tuple[int, str]] = []

    def published(self, publication: Publication) -> None:
        self.taken.append(publication.id)

    def refused_by_broker(self, publication: Publication, refusals: int, reason: str) -> None:
        assert reason
        self.refusals.append((publication.id, refusals))

    def suspected(self, publication: Publication, refusals: int, reason: str) -> None:
        assert reason
        self.suspects.append((publication.id, refusals))

    def dead_letter(self, publication: Publication, reason: str) -> None:
        self.dead_letters.append((publication.id, reason))


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


#: Seconds to the second attempt.
PAUSE = 0.005


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
    return Outbox(records, wire, pause_seconds=PAUSE)


def publish_until(outbox: Outbox, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        outbox.publish()


def test_messages_are_published_in_order_and_once(outbox: Outbox, wire: Wire, records: Records) -> None:
    outbox.add([message(1), message(2), message(3)])
    outbox.publish()
    outbox.publish()
    assert wire.sent == [1, 2, 3]
    outbox.confirmed(2)
    assert records.taken == [2]
    assert len(outbox) == 2


def test_a_confirmation_counts_once(outbox: Outbox, records: Records) -> None:
    outbox.add([message(1)])
    outbox.publish()
    outbox.confirmed(1)
    outbox.confirmed(1)
    outbox.confirmed(99)
    assert records.taken == [1]
    assert len(outbox) == 0


def test_without_room_messages_wait_in_order(outbox: Outbox, wire: Wire) -> None:
    wire.room = 1
    outbox.add([message(1), message(2), message(3)])
    outbox.publish()
    assert wire.sent == [1]
    wire.room = 2
    outbox.publish()
    assert wire.sent == [1, 2, 3]


def test_what_a_lost_connection_left_unconfirmed_goes_first_and_in_order(outbox: Outbox, wire: Wire) -> None:
    wire.room = 3
    outbox.add([message(number) for number in range(1, 6)])
    outbox.publish()
    outbox.confirmed(2)
    outbox.lost([3, 1, 2])
    wire.room = 10
    outbox.publish()
    assert wire.sent == [1, 2, 3, 1, 3, 4, 5]


def test_a_refused_message_holds_up_its_own_request_only(outbox: Outbox, wire: Wire) -> None:
    wire.room = 1
    outbox.add([message(1, "a"), message(2, "a"), message(3, "b")])
    outbox.publish()
    outbox.refused(PublicationRefused(1, "quota", final=False))
    wire.room = 10
    outbox.publish()
    assert wire.sent == [1, 3]
    publish_until(outbox, lambda: wire.sent == [1, 3, 1])
    outbox.confirmed(1)
    outbox.publish()
    assert wire.sent == [1, 3, 1, 2]


def test_a_message_refused_five_times_becomes_a_dead_letter_and_the_next_is_published(
    outbox: Outbox, wire: Wire, records: Records
) -> None:
    outbox.add([message(1, "a")])
    for refusal in range(1, MAX_REFUSALS + 1):
        publish_until(outbox, lambda refusal=refusal: wire.sent.count(1) == refusal)  # type: ignore[misc]
        outbox.add([message(1 + refusal, "a")])
        outbox.refused(PublicationRefused(1, "quota", final=False))
    assert records.refusals == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert records.dead_letters == [(1, "quota")]
    outbox.publish()
    assert wire.sent[MAX_REFUSALS:] == [2, 3, 4, 5, 6]


def test_a_final_refusal_makes_a_message_a_quarantined_at_once(
    outbox: Outbox, wire: Wire, records: Records
) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.publish()
    outbox.refused(PublicationRefused(1, "the packet is too large", final=True))
    assert records.dead_letters == [(1, "the packet is too large")]
    outbox.confirmed(2)
    assert len(outbox) == 0


def test_a_refused_message_is_not_published_again_before_its_pause(records: Records, wire: Wire) -> None:
    outbox = Outbox(records, wire, pause_seconds=3600.0)
    outbox.add([message(1)])
    outbox.publish()
    outbox.refused(PublicationRefused(1, "quota", final=False))
    outbox.publish()
    assert wire.sent == [1]
    assert len(outbox) == 1


def test_a_message_offered_again_and_lost_with_the_connection_is_published(
    outbox: Outbox, wire: Wire
) -> None:
    outbox.add([message(1)])
    outbox.publish()
    outbox.refused(PublicationRefused(1, "quota", final=False))
    publish_until(outbox, lambda: wire.sent == [1, 1])
    outbox.lost([1])
    outbox.publish()
    assert wire.sent == [1, 1, 1]


def test_an_earlier_message_lost_while_a_later_one_is_refused_goes_before_it(
    outbox: Outbox, wire: Wire
) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.publish()
    outbox.refused(PublicationRefused(2, "quota", final=False))
    outbox.lost([1])
    outbox.publish()
    assert wire.sent == [1, 2, 1]
    outbox.confirmed(1)
    publish_until(outbox, lambda: wire.sent == [1, 2, 1, 2])


def test_two_refused_messages_of_a_request_keep_their_order(outbox: Outbox, wire: Wire) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.publish()
    outbox.refused(PublicationRefused(1, "quota", final=False))
    outbox.refused(PublicationRefused(2, "quota", final=False))
    outbox.add([message(3, "a")])
    publish_until(outbox, lambda: len(wire.sent) == 3)
    outbox.confirmed(1)
    outbox.publish()
    assert wire.sent == [1, 2, 1, 2, 3]


def test_messages_refused_in_the_other_order_keep_theirs(outbox: Outbox, wire: Wire) -> None:
    outbox.add([message(1, "a"), message(2, "a")])
    outbox.publish()
    outbox.refused(PublicationRefused(2, "quota", final=False))
    outbox.refused(PublicationRefused(1, "quota", final=False))
    publish_until(outbox, lambda: len(wire.sent) == 3)
    outbox.confirmed(1)
    outbox.publish()
    assert wire.sent == [1, 2, 1, 2]
    outbox.confirmed(2)
    assert len(outbox) == 0


# ---- a backlog in the journal


def _stored(journal: Journal, identities: range, **columns: str | int) -> None:
    unit = WriteBatch()
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
    outbox.publish()
    assert len(outbox) == MAX_IN_MEMORY
    # A new one goes behind those that are only on disk.
    _stored(journal, range(size + 1, size + 2))
    outbox.add([message(size + 1)])
    wire.room = 10**6
    for _ in range(5):
        with journal.transaction() as connection:
            outbox.refill(connection)
        outbox.publish()
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
        outbox.publish()
        with journal.transaction() as connection:
            outbox.refill(connection)
    assert wire.sent == list(range(1, size + 1))


def test_a_dead_letter_is_not_published_after_a_restart(outbox: Outbox, wire: Wire, journal: Journal) -> None:
    _stored(journal, range(1, 2), quarantined_at=1, reason="quota")
    _stored(journal, range(2, 3))
    with journal.transaction() as connection:
        outbox.load(connection)
        assert len(connection.execute(select(tables.outbox)).all()) == 2
    outbox.publish()
    assert wire.sent == [2]


def test_refusals_are_counted_across_restarts(
    outbox: Outbox, wire: Wire, records: Records, journal: Journal
) -> None:
    _stored(journal, range(1, 2), refusals=MAX_REFUSALS - 1)
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.publish()
    assert wire.sent == [1]
    outbox.refused(PublicationRefused(1, "quota", final=False))
    assert records.dead_letters == [(1, "quota")]


def test_what_was_refused_before_a_turn_that_failed_is_not_taken_to_be_in_flight(
    records: Records, wire: Wire, journal: Journal
) -> None:
    outbox = Outbox(records, wire, pause_seconds=3600.0)
    _stored(journal, range(1, 2))
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.publish()
    outbox.refused(PublicationRefused(1, "quota", final=False))
    outbox.add([])  # the refusal is on disk
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.publish()
    assert wire.sent == [1, 1]


def test_what_was_confirmed_in_a_turn_that_failed_is_in_flight_again(
    outbox: Outbox, records: Records, wire: Wire, journal: Journal
) -> None:
    _stored(journal, range(1, 2))
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.publish()
    outbox.confirmed(1)
    with journal.transaction() as connection:
        outbox.load(connection)
    outbox.publish()
    outbox.confirmed(1)
    assert (wire.sent, records.taken) == ([1], [1, 1])


# ---- a broker that hangs up on a message


class Clock:
    """Time as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class HangingUp:
    """A broker that closes the connection on the `culprits`; what is not one of them is confirmed."""

    def __init__(self, records: Records, culprits: set[int]) -> None:
        self.clock = Clock()
        self.records = records
        self.culprits = culprits
        self.connections = 1
        self.on_their_way: list[int] = []
        self.outbox = self.restarted()

    def restarted(self) -> Outbox:
        """Return the outbox of a new process."""
        self.outbox = Outbox(self.records, self.publish, Suspects(clock=self.clock), pause_seconds=PAUSE)
        self.outbox.connected()
        return self.outbox

    def publish(self, publication: Publication) -> bool:
        self.on_their_way.append(publication.id)
        return True

    def turn(self, seconds: float = 1.0) -> None:
        """Let time pass, publish, and let the broker take it or hang up on it."""
        self.clock.now += seconds
        self.outbox.publish()
        sent, self.on_their_way = self.on_their_way, []
        if self.culprits.intersection(sent):
            self.connections += 1
            self.outbox.lost(sent, "the connection was closed")
            self.outbox.connected()
            return
        for identity in sent:
            self.outbox.confirmed(identity)


def test_a_message_the_broker_hangs_up_on_becomes_a_dead_letter_and_all_others_are_published(
    records: Records,
) -> None:
    broker = HangingUp(records, {2})
    broker.outbox.add([message(number) for number in range(1, 201)])
    for _ in range(300):
        broker.turn()
    assert [identity for identity, _ in records.dead_letters] == [2]
    assert "the connection was closed" in records.dead_letters[0][1]
    assert sorted(records.taken) == [1, *range(3, 201)]
    assert len(broker.outbox) == 0
    assert broker.connections <= 8


def test_new_messages_are_published_while_the_culprit_is_searched(records: Records) -> None:
    broker = HangingUp(records, {1})
    broker.outbox.add([message(1)])
    for number in range(2, 40):
        broker.outbox.add([message(number)])
        broker.turn()
    assert [identity for identity, _ in records.dead_letters] == [1]
    assert sorted(records.taken) == list(range(2, 40))


def test_several_culprits_are_all_found(records: Records) -> None:
    broker = HangingUp(records, {1, 5, 9})
    broker.outbox.add([message(number) for number in range(1, 11)])
    for _ in range(200):
        broker.turn()
    assert sorted(identity for identity, _ in records.dead_letters) == [1, 5, 9]
    assert sorted(records.taken) == [2, 3, 4, 6, 7, 8, 10]


def test_later_messages_of_the_culprits_request_are_published_once_it_is_a_dead_letter(
    records: Records,
) -> None:
    broker = HangingUp(records, {1})
    broker.outbox.add([message(1, "a"), message(2, "a"), message(3, "b")])
    for _ in range(100):
        broker.turn()
    assert [identity for identity, _ in records.dead_letters] == [1]
    assert records.taken == [3, 2]


def test_an_outage_however_long_makes_no_dead_letter(outbox: Outbox, records: Records) -> None:
    outbox.add([message(1), message(2)])
    for _ in range(100):
        outbox.connected()
        outbox.publish()
        outbox.lost([1, 2])  # not the broker's doing
    assert (records.suspects, records.dead_letters) == ([], [])


@pytest.mark.parametrize("lasts", [0.0, 1.0, 4.9])
def test_restarts_of_the_broker_in_quick_succession_make_no_dead_letter(
    records: Records, lasts: float
) -> None:
    broker = HangingUp(records, {1, 2})
    broker.outbox.add([message(1), message(2)])
    for _ in range(100):
        broker.turn(lasts)
        broker.outbox.lost([], "the connection was closed")
        broker.outbox.connected()
    assert records.dead_letters == []
    broker.culprits.clear()
    for _ in range(10):
        broker.turn()
    assert sorted(records.taken) == [1, 2]


def test_a_connection_that_ends_long_after_the_message_does_not_count(records: Records, wire: Wire) -> None:
    clock = Clock()
    outbox = Outbox(records, wire, Suspects(clock=clock), pause_seconds=PAUSE)
    outbox.add([message(1)])
    for _ in range(20):
        outbox.connected()
        outbox.publish()
        clock.now += QUIET_SECONDS
        outbox.publish()
        clock.now += 2 * SOON_SECONDS
        outbox.lost([1], "the connection was closed")
    assert records.dead_letters == []
    assert len(wire.sent) == 20


def test_a_suspect_without_an_answer_does_not_keep_the_others_waiting(records: Records, wire: Wire) -> None:
    clock = Clock()
    outbox = Outbox(records, wire, Suspects(clock=clock), pause_seconds=PAUSE)
    outbox.add([message(1)])
    for _ in range(MAX_LOSSES):
        outbox.connected()
        outbox.publish()
        outbox.lost([1], "the connection was closed")
    outbox.connected()
    outbox.publish()
    clock.now += QUIET_SECONDS
    outbox.publish()
    outbox.add([message(2)])
    outbox.publish()
    assert wire.sent == [1, 1, 1]
    clock.now += 2 * SOON_SECONDS
    outbox.publish()
    assert wire.sent == [1, 1, 1, 2]


def test_a_message_without_an_answer_does_not_keep_suspects_from_being_sent_for_ever(
    records: Records, wire: Wire
) -> None:
    clock = Clock()
    outbox = Outbox(records, wire, Suspects(clock=clock), pause_seconds=PAUSE)
    outbox.add([message(1)])
    for _ in range(MAX_LOSSES):
        outbox.connected()
        outbox.publish()
        outbox.lost([1], "the connection was closed")
    outbox.connected()
    outbox.add([message(2)])
    outbox.publish()
    for number in range(3, 30):
        outbox.add([message(number)])
        clock.now += 1
        outbox.publish()
    assert 20 in wire.sent
    outbox.confirmed(2)
    for number in range(3, 30):
        outbox.confirmed(number)
    clock.now += QUIET_SECONDS
    outbox.publish()
    assert wire.sent[-1] == 1


def test_the_search_continues_after_a_restart_and_ends_though_the_daemon_crashes_each_time(
    outbox: Outbox, journal: Journal
) -> None:
    """Every life of the process is long enough for one hang-up only."""
    assert len(outbox) == 0
    _stored(journal, range(1, 4))
    records = Durable(journal)
    broker = HangingUp(records, {2})
    process_starts = 0
    while not records.dead_letters and process_starts < 20:
        process_starts += 1
        with journal.transaction() as connection:
            broker.restarted().load(connection)
        connections = broker.connections
        for _ in range(20):
            broker.turn()
            records.write()
            if process_starts > 1 and broker.connections > connections:
                break
    assert [identity for identity, _ in records.dead_letters] == [2]
    assert sorted(records.taken) == [1, 3]
    assert process_starts <= MAX_REFUSALS


class Durable(Records):
    """Writes it to the journal as well."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.unit = WriteBatch()
        self._journal = journal

    def write(self) -> None:
        unit, self.unit = self.unit, WriteBatch()
        self._journal.write(unit)

    def published(self, publication: Publication) -> None:
        super().published(publication)
        self.unit.delete(tables.outbox, publication.id)

    def suspected(self, publication: Publication, refusals: int, reason: str) -> None:
        super().suspected(publication, refusals, reason)
        self.unit.update(tables.outbox, publication.id, refusals=refusals, reason=reason)

    def dead_letter(self, publication: Publication, reason: str) -> None:
        super().dead_letter(publication, reason)
        self.unit.update(tables.outbox, publication.id, quarantined_at=1, reason=reason)
