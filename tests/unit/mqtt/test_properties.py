from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from butler_mqtt.domain.model import Publication
from butler_mqtt.mqtt.properties import PublicationProperties, stable_text, values_of, variable_length


def properties(**values: object) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    for name, value in values.items():
        setattr(made, name, value)
    return made


def text_of(given: Properties | None) -> str:
    return stable_text(values_of(given))


@given(st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True), st.none() | st.binary(max_size=300))
def test_publications_are_packed_as_the_client_library_packs_them(
    request_id: str, data: bytes | None
) -> None:
    packed = PublicationProperties(Publication(1, "t", b"", request_id, data)).pack()
    expected = properties(UserProperty=("requestId", request_id))
    if data is not None:
        expected.CorrelationData = data
    read = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    read.unpack(packed)  # type: ignore[no-untyped-call] # paho leaves it untyped
    assert read.json() == expected.json()  # type: ignore[no-untyped-call] # paho leaves it untyped
    assert len(packed) == len(expected.pack())  # type: ignore[no-untyped-call] # paho leaves it untyped


@given(st.integers(0, 268_435_455))
def test_lengths_are_written_as_the_client_library_writes_them(number: int) -> None:
    assert variable_length(number) == VariableByteIntegers.encode(number)  # type: ignore[no-untyped-call] # untyped


def test_a_message_without_properties_has_an_empty_text() -> None:
    assert text_of(None) == ""
    assert text_of(properties()) == ""


def test_the_text_names_every_property_the_sender_gave() -> None:
    text = text_of(
        properties(
            ResponseTopic="a/b",
            CorrelationData=b"\xff\x00",
            ContentType="json",
            PayloadFormatIndicator=1,
            UserProperty=[("k", "1"), ("k", "2")],
        )
    )
    for part in ("a/b", r"b'\xff\x00'", "json", "PayloadFormatIndicator", "('k', '1'), ('k', '2')"):
        assert part in text


def test_the_text_is_the_same_when_the_broker_has_counted_the_expiry_down() -> None:
    first = properties(MessageExpiryInterval=60, ResponseTopic="a")
    again = properties(MessageExpiryInterval=10, ResponseTopic="a")
    assert text_of(first) == text_of(again)
    assert text_of(properties(MessageExpiryInterval=60)) == ""
