"""Packets are cut short and made readable, wherever the pieces that come in begin and end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from butler_mqtt.mqtt.oversize import HEADER_ROOM, PUBLISH, PacketFilter, PacketLimit, ProtocolError
from butler_mqtt.mqtt.properties import variable_length
from tests.scripted_broker import message

PAYLOAD = 1000
PONG = b"\xd0\x00"
TOO_LARGE = PAYLOAD + HEADER_ROOM


def packet(
    payload: bytes, *, topic: bytes = b"t", flags: int = 0x02, properties: bytes | None = None
) -> bytes:
    """Return a PUBLISH; *properties* without their length, None for MQTT 3.1.1."""
    body = len(topic).to_bytes(2, "big") + topic + (b"\0\x07" if flags & 0x06 else b"")
    if properties is not None:
        body += variable_length(len(properties)) + properties
    body += payload
    return bytes([PUBLISH | flags]) + variable_length(len(body)) + body


def shown(payload: bytes, *, topic: bytes = b"t", flags: int = 0x02, properties: bytes) -> bytes:
    """Return what paho is shown of a PUBLISH of MQTT 5: its properties are the beginning of the payload."""
    content = variable_length(len(properties)) + properties + payload
    return packet(content, topic=topic, flags=flags, properties=b"")


def user_property(size: int) -> bytes:
    return b"\x26" + b"\0\x01k" + size.to_bytes(2, "big") + b"v" * size


def passed(stream: bytes, *, is_v5: bool = False, size: int = 1 << 16) -> list[bytes]:
    """Feed a stream in pieces of a size; give the packets that go on."""
    packets = PacketFilter(PacketLimit(PAYLOAD, is_v5))
    given = b"".join(packets.feed(stream[start : start + size]) for start in range(0, len(stream), size))
    return list(split(given))


def split(stream: bytes) -> Iterator[bytes]:
    """Yield the packets of a stream one by one."""
    while stream:
        length, end = 0, 1
        while True:
            length |= (stream[end] & 0x7F) << 7 * (end - 1)
            end += 1
            if stream[end - 1] < 0x80:
                break
        yield stream[: end + length]
        stream = stream[end + length :]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 16])
def test_what_is_not_too_large_goes_on_as_it_is(size: int) -> None:
    packets = [PONG, packet(b""), packet(b"x" * PAYLOAD), packet(b"x" * 5000, flags=0x04), PONG]
    assert passed(b"".join(packets), size=size) == packets


def test_a_message_goes_on_when_its_topic_and_packet_id_are_whole() -> None:
    packets = PacketFilter(PacketLimit(PAYLOAD, is_v5=False))
    whole = packet(b"payload", topic=b"long/topic")
    given = [packets.feed(PONG + whole[:4])]
    given += [packets.feed(whole[place : place + 1]) for place in range(4, 16)]
    assert given == [PONG, *[b""] * 11, whole[:16]]
    assert packets.feed(whole[16:]) == whole[16:]


def test_a_topic_longer_than_its_packet_is_not_waited_for() -> None:
    packets = PacketFilter(PacketLimit(PAYLOAD, is_v5=False))
    with pytest.raises(ProtocolError, match="ends within its topic"):
        packets.feed(b"\x30\x03\x00\xff")


def test_the_largest_packet_that_was_asked_for_goes_on_whole() -> None:
    whole = packet(b"x" * (TOO_LARGE - 4 - 5))
    assert len(whole) == TOO_LARGE
    assert passed(whole + PONG) == [whole, PONG]
    assert len(passed(packet(b"x" * (TOO_LARGE - 4 - 5 + 1)))[0]) < 2 * PAYLOAD


@pytest.mark.parametrize("flags", [0x00, 0x01, 0x02, 0x03, 0x0A, 0x04, 0x0C])
@pytest.mark.parametrize("size", [5, 4999, 1 << 16])
def test_of_a_message_that_is_too_large_head_and_a_refusable_part_go_on(flags: int, size: int) -> None:
    large = packet(b"x" * 2 * TOO_LARGE, topic=b"a/topic", flags=flags)
    first, cut, last = passed(PONG + large + PONG, size=size)
    assert (first, last) == (PONG, PONG)
    assert cut == packet(b"x" * (PAYLOAD + 1), topic=b"a/topic", flags=flags)


@pytest.mark.parametrize("size", [5, 4999, 1 << 16])
def test_properties_go_on_with_it(size: int) -> None:
    properties = b"\x08\0\x05reply" + b"\x09\0\x02id" + user_property(60_000)
    large = packet(b"x" * 2 * TOO_LARGE, properties=properties)
    assert passed(large + PONG, is_v5=True, size=size) == [
        shown(b"x" * (PAYLOAD + 1), properties=properties),
        PONG,
    ]


@pytest.mark.parametrize("properties", [b"", b"\x26\0\x03\xef\xbb\xbf\0\x01v", b"\xff" * 200])
@pytest.mark.parametrize("flags", [0x00, 0x02, 0x0A])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 16])
def test_properties_are_never_read_by_the_client_library(properties: bytes, flags: int, size: int) -> None:
    packets = [packet(b"x" * length, flags=flags, properties=properties) for length in (0, 120, PAYLOAD)]
    assert passed(PONG + b"".join(packets) + PONG, is_v5=True, size=size) == [
        PONG,
        *(shown(b"x" * length, flags=flags, properties=properties) for length in (0, 120, PAYLOAD)),
        PONG,
    ]


@pytest.mark.parametrize("is_v5", [False, True])
@pytest.mark.parametrize(
    ("topic", "sound"),
    [(b"a/\xff/b", "a/\ufffd/b"), (b"\xff" * 65535, "\ufffd" * 21845), ("a/\xe4".encode(), "a/\xe4")],
    ids=["one", "many", "none"],
)
def test_of_a_topic_what_is_no_utf_8_is_replaced(topic: bytes, sound: str, is_v5: bool) -> None:
    properties = b"" if is_v5 else None
    # What stands for the properties, and their length at the beginning of what is shown as the payload.
    more = b"\0" if is_v5 else b""
    for size in (1, 2 * TOO_LARGE):
        large = packet(b"x" * size, topic=topic, properties=properties)
        expected = packet(more + b"x" * min(size, PAYLOAD + 1), topic=sound.encode(), properties=properties)
        assert passed(large + PONG, is_v5=is_v5) == [expected, PONG]


def test_a_message_that_ends_within_its_topic_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="a PUBLISH of 5 bytes that ends within its topic"):
        passed(b"\x32\x05\0\x05topic\0\x07")


def test_properties_that_are_too_large_themselves_are_left_out() -> None:
    large = packet(b"", properties=user_property(65_000) * 5)
    cut, last = passed(large + PONG, is_v5=True)
    assert last == PONG
    without = shown(b"x" * (PAYLOAD + 1), properties=b"")
    assert (cut[:9], len(cut)) == (without[:9], len(without))


def test_two_that_are_too_large_one_after_the_other_are_both_cut() -> None:
    large = packet(b"x" * TOO_LARGE)
    assert passed(large + large + PONG) == [packet(b"x" * (PAYLOAD + 1))] * 2 + [PONG]


@pytest.mark.parametrize(
    ("first", "name"), [(0x40, "PUBACK"), (0x90, "SUBACK"), (0x20, "CONNACK"), (0xD0, "PINGRESP")]
)
def test_another_kind_of_packet_that_is_too_large_breaks_the_protocol(first: int, name: str) -> None:
    with pytest.raises(ProtocolError, match=f"a {name} of 250000000 bytes"):
        passed(PONG + bytes([first]) + variable_length(250_000_000))


def test_a_length_that_does_not_end_is_left_to_the_client_library() -> None:
    endless = b"\x30\xff\xff\xff\xff\xff\x01"
    assert PacketFilter(PacketLimit(PAYLOAD, is_v5=False)).feed(endless[:5]) == endless[:5]


def test_of_a_quarter_of_a_gigabyte_a_little_is_held_at_any_time() -> None:
    packets = PacketFilter(PacketLimit(PAYLOAD, is_v5=False))
    given = sum(len(packets.feed(piece)) for piece in message("t", 250_000_000, is_v5=False))
    assert given == len(packet(b"x" * (PAYLOAD + 1)))
