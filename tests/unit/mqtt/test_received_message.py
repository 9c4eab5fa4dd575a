"""What paho has read of a PUBLISH becomes a message of ours."""

from __future__ import annotations

import pytest
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.publish_content import content_of
from butler_mqtt.mqtt.received_message import received, stable_text


def properties(**values: object) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
    for name, value in values.items():
        setattr(made, name, value)
    return made


def publish(given: Properties | None, *, dup: bool = False, retain: bool = False) -> paho.MQTTMessage:
    """Return a message as paho has it behind our filter; None is MQTT 3.1.1."""
    message = paho.MQTTMessage(mid=5, topic=b"a/topic")
    message.payload, message.qos, message.dup, message.retain = b"{}", 1, dup, retain
    if given is not None:
        message.payload = given.pack() + b"{}"  # type: ignore[no-untyped-call]
        message.properties = properties()
    return message


def message_of(packet: paho.MQTTMessage, generation: int = 1) -> Message:
    return received(packet, content_of(packet), generation=generation)


def text_of(given: Properties | None) -> str:
    return stable_text(content_of(publish(given)).values)


def test_a_message_has_what_the_sender_gave() -> None:
    given = properties(
        ResponseTopic="a/b",
        CorrelationData=b"\xff",
        UserProperty=("k", "1"),
        ContentType="json",
        MessageExpiryInterval=60,
    )
    assert message_of(publish(given), generation=7) == Message(
        "a/topic",
        b"{}",
        5,
        7,
        response_topic="a/b",
        correlation=b"\xff",
        expiry_seconds=60,
        # As earlier versions have stored it.
        properties="{'ContentType': 'json', 'ResponseTopic': 'a/b', 'CorrelationData': b'\\xff', "
        "'UserProperty': [('k', '1')]}",
    )


@pytest.mark.parametrize(("dup", "retain"), [(False, False), (True, False), (False, True)])
def test_a_message_of_mqtt_3_has_no_properties(dup: bool, retain: bool) -> None:
    assert message_of(publish(None, dup=dup, retain=retain)) == Message("a/topic", b"{}", 5, 1, dup, retain)


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
