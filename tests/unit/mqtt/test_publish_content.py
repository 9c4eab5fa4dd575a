"""Properties are read whatever they hold: a message that is not read would be delivered for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from butler_mqtt.mqtt.properties import variable_length
from butler_mqtt.mqtt.publish_content import PublishContent, read

#: What paho can write and read: no NUL, no surrogate, no U+FEFF.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=20)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": TEXT,
        "ResponseTopic": TEXT,
        "CorrelationData": st.binary(max_size=300),
        "SubscriptionIdentifier": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=3),
        "UserProperty": st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    },
)


def content(*properties: bytes, payload: bytes = b"{}") -> PublishContent:
    joined = b"".join(properties)
    return read(variable_length(len(joined)) + joined + payload)


@given(VALUES, st.binary(max_size=20))
def test_what_the_client_library_writes_is_read_as_it_reads_it(
    values: dict[str, object], payload: bytes
) -> None:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    for name, value in values.items():
        setattr(made, name, value)
    assert read(made.pack() + payload) == PublishContent(payload, values)  # type: ignore[no-untyped-call]


@given(st.binary(max_size=40))
def test_any_bytes_are_read(received: bytes) -> None:
    assert received.endswith(read(received).payload)


def test_a_byte_order_mark_in_a_text_is_text() -> None:
    """MQTT 5.0, 1.5.4; paho refuses it."""
    found = content(b"\x08\0\x04r\xef\xbb\xbf", b"\x26\0\x03\xef\xbb\xbf\0\x01v")
    assert found.values == {"ResponseTopic": "r\ufeff", "UserProperty": [("\ufeff", "v")]}


def test_what_is_no_utf_8_is_replaced() -> None:
    assert content(b"\x03\0\x02a\xff", b"\x26\0\x01\xfe\0\x03\xed\xa0\x80").values == {
        "ContentType": "a\ufffd",
        "UserProperty": [("\ufffd", "\ufffd\ufffd\ufffd")],
    }


def test_a_response_topic_that_is_no_utf_8_is_none_that_can_be_replied_to() -> None:
    assert content(b"\x08\0\x02r\xff").values == {"ResponseTopic": "r\udcff"}


@pytest.mark.parametrize(
    "broken",
    [b"\x09\0\x09id", b"\x7f\0", b"\x26\0\x01a\0\x05b", b"\x0b\xff\xff\xff\xff\x01", b"\x02\0"],
    ids=["longer than all", "not known", "half a pair", "endless number", "half a number"],
)
def test_what_comes_before_a_property_that_cannot_be_read_counts(broken: bytes) -> None:
    assert content(b"\x03\0\x01c", broken) == PublishContent(b"{}", {"ContentType": "c"})


def test_of_a_property_that_is_there_twice_the_first_counts() -> None:
    assert content(b"\x03\0\x01c", b"\x03\0\x01d").values == {"ContentType": "c"}


@pytest.mark.parametrize("received", [b"", b"\x05\x03\0", b"\xff\xff\xff\xff\x01x"])
def test_of_a_length_that_is_wrong_all_is_payload(received: bytes) -> None:
    assert read(received) == PublishContent(received, {})
