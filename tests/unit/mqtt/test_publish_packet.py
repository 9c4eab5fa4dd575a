"""A PUBLISH is read as the client library reads it, or left to it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt import publish_packet
from butler_mqtt.mqtt.properties import variable_length

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "PayloadFormatIndicator": st.integers(0, 1),
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": _TEXT,
        "ResponseTopic": _TEXT,
        "CorrelationData": st.binary(max_size=300),
        "UserProperty": st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=3),
        "SubscriptionIdentifier": st.integers(1, 268_435_455),
        "TopicAlias": st.integers(1, 65535),
    },
)


def packet(flags: int, topic: bytes, packet_id: int, properties: bytes, payload: bytes) -> bytes:
    """Build a packet; *properties* with their length, empty for MQTT 3.1.1."""
    body = struct.pack("!H", len(topic)) + topic
    if flags & 0x06:
        body += struct.pack("!H", packet_id)
    body += properties + payload
    return bytes([publish_packet.PUBLISH | flags]) + variable_length(len(body)) + body


def packed(**values: Any) -> bytes:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    for name, value in values.items():
        setattr(made, name, value)
    whole: bytes = made.pack()  # type: ignore[no-untyped-call] # paho leaves it untyped
    return whole


class Reader(paho.Client):
    """The client library, given bytes in place of a socket."""

    def __init__(self, sent: bytes, *, is_v5: bool) -> None:
        version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, "test", protocol=version, manual_ack=True)
        self._sent = sent
        self.came: list[Message] = []
        self.on_message = self._take

    def _sock_recv(self, bufsize: int) -> bytes:
        part, self._sent = self._sent[:bufsize], self._sent[bufsize:]
        return part

    def _take(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self.came.append(publish_packet.of_paho(message, generation=7))

    def read(self) -> Message | None:
        """Give the message of a packet that it reads and hands on."""
        rc = self._packet_read()
        return self.came[0] if rc == MQTTErrorCode.MQTT_ERR_SUCCESS and self.came else None


@given(
    st.sampled_from([0, 1, 2, 3, 8, 10, 11]),
    st.text(min_size=1, max_size=20).filter(lambda text: text.isascii()),
    st.integers(1, 65535),
    st.none() | _PROPERTIES,
    st.binary(max_size=300),
)
def test_a_message_is_read_as_the_client_library_reads_it(
    flags: int, topic: str, packet_id: int, properties: dict[str, Any] | None, payload: bytes
) -> None:
    is_v5 = properties is not None
    sent = packet(flags, topic.encode(), packet_id, packed(**properties or {}) if is_v5 else b"", payload)
    message = publish_packet.read(sent, is_v5=is_v5, generation=7)
    unusual = {"SubscriptionIdentifier", "TopicAlias"} & set(properties or ())
    texts = {name: value for name, value in (properties or {}).items() if name != "CorrelationData"}
    forbidden = any(character in repr(texts) for character in ("\\x00", "\\ufeff"))
    if unusual or forbidden:
        assert message is None
    else:
        assert message == Reader(sent, is_v5=is_v5).read()
        assert message is not None


@given(
    st.sampled_from([0, 2]),
    st.booleans(),
    st.binary(max_size=60) | st.binary(max_size=40).map(lambda more: b"\x00\x01t\x00\x01" + more),
)
def test_what_the_client_library_refuses_is_left_to_it(flags: int, is_v5: bool, body: bytes) -> None:
    sent = bytes([publish_packet.PUBLISH | flags]) + variable_length(len(body)) + body
    message = publish_packet.read(sent, is_v5=is_v5, generation=7)
    if message is not None:
        assert message == Reader(sent, is_v5=is_v5).read()


@pytest.mark.parametrize(
    "sent",
    [
        packet(0x04, b"t", 1, b"\x00", b"x"),
        packet(0x06, b"t", 1, b"\x00", b"x"),
        packet(0x02, b"", 1, b"\x00", b"x"),
        packet(0x02, b"\xff", 1, b"\x00", b"x"),
        packet(0x02, b"t", 1, b"\x01\x01\x01", b""),
        packet(0x02, b"t", 1, b"\x05\x01\x01\x01\x01\x01", b""),
        packet(0x02, b"t", 1, b"\x02\x7f\x01", b"x"),
        packet(0x02, b"t", 1, b"\x02\x01\x02", b"x"),
        packet(0x02, b"t", 1, b"\x04\x01\x01\x01\x01", b"x"),
        packet(0x02, b"t", 1, b"\x05\x08\x00\x09ab", b""),
        packet(0x02, b"t", 1, b"\x80\x80\x80\x80\x01", b"x"),
        packet(0x02, b"t", 1, b"\x40", b"x"),
        b"\x32\x02\x00\x09",
    ],
)
def test_qos_2_and_what_the_protocol_does_not_allow_is_not_read(sent: bytes) -> None:
    assert publish_packet.read(sent, is_v5=True, generation=1) is None


def test_the_text_of_properties_is_what_earlier_versions_have_stored() -> None:
    sent = packet(
        0x02,
        b"t",
        5,
        packed(ResponseTopic="a/b", CorrelationData=b"\xff", UserProperty=("k", "1"), ContentType="json"),
        b"{}",
    )
    message = publish_packet.read(sent, is_v5=True, generation=1)
    assert message is not None
    assert message.properties == (
        "{'ContentType': 'json', 'ResponseTopic': 'a/b', 'CorrelationData': b'\\xff', "
        "'UserProperty': [('k', '1')]}"
    )
