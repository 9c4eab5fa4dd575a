"""A message that rules judge, and what was read from it, read once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


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


class DecodedMessage:
    """A message with what was read of it so far; give it to every rule in place of the message."""

    def __init__(self, message: RuleMessage) -> None:
        self.message = message
