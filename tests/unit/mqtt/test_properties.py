from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from butler_mqtt.domain.model import Publication
from butler_mqtt.mqtt.properties import PublicationProperties, variable_length


def properties(**values: object) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    for name, value in values.items():
        setattr(made, name, value)
    return made


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
