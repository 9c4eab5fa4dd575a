"""What the pipeline needs of the connections on which messages arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Acknowledging(Protocol):
    """The side of the MQTT door that acknowledges messages."""

    def acknowledge(self, packet_id: int, generation: int) -> None:
        """Send the PUBACK of a message of the connection *generation*."""


class RuleDoorway(Acknowledging, Protocol):
    """The side of the connection of rules that acknowledges messages and subscribes."""

    def subscribe(self, wanted: Mapping[int, str], unwanted: Mapping[int, str]) -> None:
        """Subscribe to the filters *wanted*, and unsubscribe from those *unwanted*, by their identifiers."""
