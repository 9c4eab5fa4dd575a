"""A message of the broker as a value of ours: what paho has read of a PUBLISH."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties

from butler_mqtt.domain.model import Message

#: The sender's properties; brokers count down or add the others.
_LASTING = ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty")
_READ = (*_LASTING, "MessageExpiryInterval")


def received(message: paho.MQTTMessage, *, generation: int) -> Message:
    """Return *message* of the connection *generation*."""
    values = values_of(message.properties)
    return Message(
        topic=message.topic,
        payload=bytes(message.payload),
        packet_id=message.mid,
        generation=generation,
        dup=bool(message.dup),
        retain=bool(message.retain),
        response_topic=values.get("ResponseTopic"),
        correlation=values.get("CorrelationData"),
        expiry_seconds=values.get("MessageExpiryInterval"),
        properties=stable_text(values),
    )


def values_of(properties: Properties | None) -> dict[str, Any]:
    """Return the properties of a message by their names, in paho's spelling of them."""
    return {name: value for name in _READ if (value := getattr(properties, name, None)) is not None}


def stable_text(values: Mapping[str, Any]) -> str:
    """Write the properties of a message so that a redelivery gives the same text; without any: empty."""
    lasting = {name: values[name] for name in _LASTING if name in values}
    # What the journal has of earlier messages was made of this text too: it must not change.
    return repr(lasting) if lasting else ""


def identifiers_of(message: paho.MQTTMessage) -> tuple[int, ...]:
    """Return the Subscription Identifiers of a message, none with MQTT 3.1.1."""
    return tuple(getattr(message.properties, "SubscriptionIdentifier", ()))


def user_properties_of(message: paho.MQTTMessage) -> tuple[tuple[str, str], ...]:
    """Return the user properties of a message, in their order."""
    return tuple((name, value) for name, value in getattr(message.properties, "UserProperty", ()))
