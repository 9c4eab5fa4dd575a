"""A message that rules judge, and what was read from it, read once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from butler_mqtt.contract import strict_json

#: Levels of a message in JSON: more than a request has, since others write it.
MAX_DEPTH: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RuleMessage(NamedTuple):
    """
    What arrived: from the broker, or at a webhook, whose `topic` is empty.

    `properties` are MQTT 5 user properties or HTTP headers in lower case,
    `received_at` is in milliseconds since 1970.
    """

    payload: bytes
    topic: str
    properties: Mapping[str, str]
    received_at: int


class PayloadError(ValueError):
    """A payload that is not what a rule says it is."""


class DecodedMessage:
    """A message with what was read of it so far; give it to every rule in place of the message."""

    def __init__(self, message: RuleMessage) -> None:
        self.message = message
        self._text: str | None = None
        self._read: dict[str, dict[str, object] | PayloadError] = {}

    def variables(self, payload: str) -> dict[str, object]:
        """
        Return what expressions see, `count` excepted, where the payload is *payload*: json, text or none.

        Raises:
            PayloadError: It is something else; with the place.
        """
        found = self._read.get(payload)
        if found is None:
            try:
                found = self._variables(payload)
            except strict_json.JsonError as error:
                what = "UTF-8 text" if payload == "text" else "JSON"
                found = PayloadError(f"the payload is no {what}: {error}")
            self._read[payload] = found
        if isinstance(found, PayloadError):
            raise found
        return found

    def _variables(self, payload: str) -> dict[str, object]:
        message = self.message
        text, value = "", None
        if payload != "none":
            if self._text is None:
                self._text = strict_json.decode(message.payload)
            text = self._text
            value = text if payload == "text" else strict_json.loads(text, max_depth=MAX_DEPTH)
        return {
            "payload": value,
            "text": text,
            "topic": message.topic,
            "levels": message.topic.split("/") if message.topic else [],
            "properties": dict(message.properties),
            "received": _EPOCH + timedelta(milliseconds=message.received_at),
        }


def decoded(message: RuleMessage | DecodedMessage) -> DecodedMessage:
    """Return *message* as one that keeps what is read of it."""
    return message if isinstance(message, DecodedMessage) else DecodedMessage(message)
