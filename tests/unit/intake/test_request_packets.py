"""Which messages of requests are delivered again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from butler_mqtt.domain.model import Message
from butler_mqtt.intake.redelivery import Packet, digest_of
from butler_mqtt.intake.request_packets import MAX_CONNECTIONS, RequestPackets
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class Rig:
    """Packets on a real journal, a transaction for each step; deliveries are numbered from 1."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = UnitOfWork()
        with journal.transaction() as transaction:
            self._turn.number_from(highest_ids(transaction))
        ledger = Ledger(self._turn)
        self.packets = RequestPackets(ledger.deliveries, ledger.notes, 10)
        self.delivery = 0
        self.do(self.packets.load)

    def do(self, step: Callable[[Transaction], object]) -> None:
        self._turn.begin()
        with self._journal.transaction() as transaction:
            step(transaction)
            self._turn.unit.write(transaction)

    def connect(self, generation: int, *, present: bool) -> None:
        self.do(lambda _transaction: self.packets.session_began(generation, present))

    def is_new(self, message: Message, *, again: bool = False) -> bool:
        """Return whether a message is to be recorded; if so, it becomes the next delivery."""
        found: list[tuple[bool, Packet | None]] = []
        self.do(
            lambda transaction: found.append(
                self.packets.recognise(transaction, message, digest_of(message), again=again)
            )
        )
        ((new, packet),) = found
        if new and packet is not None:
            self.delivery += 1
            self.packets.placed(packet, self.packets.session_of(message), self.delivery)
        return new


@pytest.fixture
def rig(journal: Journal) -> Rig:
    made = Rig(journal)
    made.connect(1, present=False)
    return made


def message(
    packet_id: int = 1, generation: int = 1, *, body: bytes = b"{}", dup: bool = False, retain: bool = False
) -> Message:
    return Message("topic", body, packet_id, generation, dup, retain)


def test_what_the_broker_brings_again_in_its_session_is_recognised(rig: Rig) -> None:
    assert rig.is_new(message())
    rig.connect(2, present=True)
    assert not rig.is_new(message(generation=2, dup=True))
    assert not rig.is_new(message(generation=2, dup=True))


@pytest.mark.parametrize(
    ("present", "second"),
    [
        (False, message(generation=2, dup=True)),
        (True, message(generation=2)),
        (True, message(2, generation=2, dup=True)),
        (True, message(generation=2, dup=True, body=b"[]")),
        (True, message(0, generation=2, dup=True)),
    ],
    ids=["session is new", "not marked as repeated", "another packet", "another content", "QoS 0"],
)
def test_anything_else_is_a_message_of_its_own(rig: Rig, present: bool, second: Message) -> None:
    rig.is_new(message())
    rig.connect(2, present=present)
    assert rig.is_new(second)


def test_a_retained_message_is_not_recorded(rig: Rig) -> None:
    assert not rig.is_new(message(retain=True))


def test_a_turn_that_is_repeated_finds_what_it_wrote_but_not_an_equal_message_from_before(rig: Rig) -> None:
    rig.is_new(message())
    rig.packets.begin_attempt(1)
    assert rig.is_new(message(), again=True)
    assert not rig.is_new(message(), again=True)


def test_what_the_broker_is_proved_to_have_acknowledged_is_noted_once(rig: Rig) -> None:
    one, other = message(1), message(2, body=b"[]")
    for sent in (one, other):
        rig.is_new(sent)
    rig.packets.acknowledged([one, other])
    rig.packets.acknowledgements_read(1, 1)
    unread = rig.packets.unread()
    assert unread is not None
    assert (len(unread), unread.read_up_to) == (1, 1)
    rig.packets.acknowledgements_read(1, 2)
    assert (len(unread), unread.read_up_to) == (0, 2)


def test_a_proof_of_an_earlier_connection_proves_nothing_of_this_one(rig: Rig) -> None:
    rig.is_new(message())
    rig.packets.acknowledged([message()])
    rig.connect(2, present=True)
    rig.packets.acknowledgements_read(1, 1)
    unread = rig.packets.unread()
    assert unread is not None
    assert len(unread) == 1


def test_a_session_that_a_turn_began_and_could_not_write_is_forgotten(journal: Journal) -> None:
    rig = Rig(journal)
    rig.packets.session_began(1, False)
    first = rig.packets.session_of(message())
    rig.do(rig.packets.load)
    rig.connect(1, present=False)
    assert rig.packets.session_of(message()) > first


def test_sessions_of_so_many_connections_are_remembered(rig: Rig) -> None:
    old = rig.packets.session_of(message())
    for generation in range(2, MAX_CONNECTIONS + 1):
        rig.connect(generation, present=False)
    assert rig.packets.session_of(message()) == old
    rig.connect(MAX_CONNECTIONS + 1, present=False)
    assert rig.packets.session_of(message()) != old
