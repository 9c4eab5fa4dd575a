"""What redeliveries are compared with, and until when."""

from __future__ import annotations

from butler_mqtt.domain.model import Message
from butler_mqtt.intake.redelivery import MAX_WAITING, Acknowledgements, Packet, Packets


def message(packet_id: int) -> Message:
    return Message("topic", b"", generation=1, packet_id=packet_id)


def acknowledge(acknowledgements: Acknowledgements, packet: Packet) -> None:
    """Record a message on connection 1 and acknowledge it."""
    acknowledgements.recorded(message(packet.packet_id), packet)
    acknowledgements.sent([message(packet.packet_id)])


def test_as_many_are_remembered_as_there_are_packet_ids() -> None:
    packets = Packets(1, 0, (), (), 10)
    for row in range(1, 3 * MAX_WAITING):
        packets.placed(packets.add(1 + row % MAX_WAITING, row.to_bytes(16, "big")), row)
    assert len(packets) == MAX_WAITING


def test_what_comes_again_after_its_proof_is_kept_until_the_next_one() -> None:
    """A broker that goes on from an older store does not know what it had read."""
    packets = Packets(1, 0, (), (), 1)
    packet = packets.add(1, b"a")
    packets.placed(packet, 1)
    packets.read([packet])
    assert packets.find(1, b"a") is packet
    packets.placed(packets.add(2, b"b"), 2)
    assert packets.find(1, b"a") is packet
    packets.read([packet])
    assert packets.find(1, b"a") is None


def test_acknowledgements_without_a_proof_are_bounded_and_the_newest_stay() -> None:
    acknowledgements = Acknowledgements(1)
    sent = [Packet(1 + number % MAX_WAITING, b"", number + 1) for number in range(MAX_WAITING + 10)]
    for packet in sent:
        acknowledge(acknowledgements, packet)
    assert acknowledgements.read(1, 5) == []
    assert acknowledgements.read(1, 12) == sent[10:12]
    assert acknowledgements.read(1, MAX_WAITING + 10) == sent[12:]
    assert acknowledgements.read(1, MAX_WAITING + 10) == []


def test_what_is_proved_reaches_up_to_the_oldest_that_is_not() -> None:
    packets = Packets(1, 0, (), (), 10)
    for row in (1, 2, 3):
        packets.placed(packets.add(row, b""), row)
    packets.read([Packet(1, b"", 1), Packet(3, b"", 3)])
    assert packets.read_up_to == 1
    packets.read([Packet(2, b"", 2)])
    assert packets.read_up_to == 3


def test_a_proof_does_not_reach_what_has_used_its_packet_id_since() -> None:
    """Having read a PUBACK a broker may send that packet id again before it answers the PINGREQ."""
    packets = Packets(1, 0, (), (), 0)
    before, since = packets.add(1, b"a"), packets.add(1, b"b")
    packets.placed(before, 1)
    packets.placed(since, 2)
    packets.read([before])
    assert packets.find(1, b"b") is since


def test_an_acknowledgement_of_a_message_without_a_row_counts_too() -> None:
    acknowledgements = Acknowledgements(1)
    first, second = Packet(1, b"", 1), Packet(2, b"", 2)
    acknowledgements.sent([message(3)])
    for packet in (first, second):
        acknowledge(acknowledgements, packet)
    assert acknowledgements.read(1, 2) == [first]


def test_a_proof_of_another_connection_proves_nothing() -> None:
    acknowledgements = Acknowledgements(1)
    first, second = Packet(1, b"", 1), Packet(2, b"", 2)
    acknowledge(acknowledgements, first)
    assert acknowledgements.read(2, 1) == []
    acknowledgements.connection_began(2)
    acknowledge(acknowledgements, second)  # it came on the connection before
    assert acknowledgements.read(2, 1) == []


def test_what_was_not_recorded_after_all_is_acknowledged_without_a_row() -> None:
    acknowledgements = Acknowledgements(1)
    acknowledgements.recorded(message(1), Packet(1, b"", 1))
    acknowledgements.forget_recorded()
    acknowledgements.sent([message(1)])
    assert acknowledgements.read(1, 1) == []
