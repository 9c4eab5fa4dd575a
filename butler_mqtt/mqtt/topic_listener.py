"""Reading what others publish, without taking anything from the daemon."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from paho.mqtt import client as paho

from butler_mqtt import settings
from butler_mqtt.clock import now_ms
from butler_mqtt.contract import topics
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.probe import Probe
from butler_mqtt.mqtt.publish_content import content_of


class Heard(NamedTuple):
    """One message; `received_at` is in milliseconds since 1970, `retained`: the broker had it stored."""

    topic: str
    payload: bytes
    properties: tuple[tuple[str, str], ...]
    received_at: int
    retained: bool


class TopicListener(Probe):
    """
    A connection with a client id and a session of its own that only subscribes; a context manager.

    Raises:
        BrokerError: On entering, the broker could not be reached or refused it.
    """

    def __init__(self, mqtt: settings.MqttSettings) -> None:
        super().__init__(mqtt, f"{mqtt.client_id}-listen-{secrets.token_hex(6)}", keep_session=False)
        self._heard: deque[Heard] = deque()

    def listen(self, filters: Sequence[str]) -> None:
        """Subscribe to *filters*, without those that others cover; raises ProbeRefused if one is refused."""
        for topic_filter in dict.fromkeys(filters):
            if not any(other != topic_filter and topics.covers(other, topic_filter) for other in filters):
                self.subscribe(topic_filter)

    def next(self, seconds: float) -> Heard | None:
        """
        Return the next message, None when none comes within *seconds*.

        Raises:
            BrokerError: The broker is lost.
        """
        if not self._turn_until(lambda: bool(self._heard), seconds):
            return None
        if not self._heard:
            raise BrokerError("the broker has closed the connection")
        return self._heard.popleft()

    def _on_message(self, client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        content = content_of(message)
        self._heard.append(
            Heard(message.topic, content.payload, content.user_properties, now_ms(), bool(message.retain))
        )
        client.ack(message.mid, message.qos)
