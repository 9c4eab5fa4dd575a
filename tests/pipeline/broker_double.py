"""Both sides of an MQTT broker in this process, as the pipeline sees them."""

from __future__ import annotations

from collections.abc import Callable

from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    Completion,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    SessionBegan,
)
from butler_mqtt.domain.model import Publication


class Broker:
    """
    What the daemon sees of a broker: acknowledgements it sends, publications it hands over.

    `published` are all replies handed over in order, repetitions too, `events`
    the events;
    `in_flight` those not confirmed. With `room` 0 none is taken. Acknowledgements
    are known to be read at once; with `reads` False they wait for `read`.
    """

    def __init__(self) -> None:
        self.acknowledged: list[tuple[int, int]] = []
        self.published: list[Publication] = []
        self.events: list[Publication] = []
        self.confirmed: list[Publication] = []
        self.in_flight: dict[int, Publication] = {}
        self.room = 10**9
        self.reads = True
        self._generation = 0
        self._acknowledgements = 0
        self.on_acknowledge: Callable[[int], None] = lambda _packet_id: None
        self.emit: Callable[[Completion], None] = lambda _event: None

    def connected(self, generation: int, *, present: bool) -> None:
        """Let a connection begin."""
        self._generation, self._acknowledgements = generation, 0
        self.emit(SessionBegan(generation, present))

    def acknowledge(self, packet_id: int, generation: int) -> None:
        self.on_acknowledge(packet_id)
        self.acknowledged.append((packet_id, generation))
        if generation == self._generation and packet_id:
            self._acknowledgements += 1
            if self.reads:
                self.read()

    def read(self) -> None:
        """Prove that all acknowledgements of this connection were read, as a PINGRESP does."""
        self.emit(AcknowledgementsRead(self._generation, self._acknowledgements))

    def publish(self, publication: Publication) -> bool:
        if self.room <= len(self.in_flight):
            return False
        (self.events if publication.delivery is None else self.published).append(publication)
        self.in_flight[publication.id] = publication
        return True

    def confirm(self, *identities: int) -> None:
        """Confirm these publications, or all in flight."""
        for identity in identities or list(self.in_flight):
            self.confirmed.append(self.in_flight.pop(identity))
            self.emit(PublicationConfirmed(identity))

    def refuse(self, identity: int, reason: str = "quota exceeded", *, final: bool = False) -> None:
        """Refuse one publication."""
        del self.in_flight[identity]
        self.emit(PublicationRefused(identity, reason, final))

    def lose(self) -> None:
        """End the connection with everything unconfirmed."""
        gone = tuple(self.in_flight)
        self.in_flight.clear()
        self.emit(PublicationsLost(gone))
        self.emit(PublisherReady())

    def forget(self) -> None:
        """The daemon is gone, and with it what was in flight."""
        self.in_flight.clear()
