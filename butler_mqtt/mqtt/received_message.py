"""A message of the broker as a value of ours: what paho has read of a PUBLISH."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paho.mqtt import client as paho

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.publish_content import PublishContent

#: The sender's properties; brokers count down or add the others.
_LASTING = ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty")


def received(message: paho.MQTTMessage, content: PublishContent, *, generation: int) -> Message:
    """Return *message* with its *content*, of the connection *generation*."""
    values = content.values
    return Message(
        topic=message.topic,
        payload=content.payload,
        packet_id=message.mid,
        generation=generation,
        dup=bool(message.dup),
        retain=bool(message.retain),
        response_topic=values.get("ResponseTopic"),
        correlation=values.get("CorrelationData"),
        expiry_seconds=values.get("MessageExpiryInterval"),
        properties=stable_text(values),
    )


def stable_text(values: Mapping[str, Any]) -> str:
    """Write the properties of a message so that a redelivery gives the same text; without any: empty."""
    lasting = {name: values[name] for name in _LASTING if name in values}
    # What the journal has of earlier messages was made of this text too: it must not change.
    return repr(lasting) if lasting else ""
