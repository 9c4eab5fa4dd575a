"""Deliveries, and the messages of the outbox: replies and events."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from butler_mqtt.clock import now_ms
from butler_mqtt.contract import replies
from butler_mqtt.domain.model import Arrival, Publication
from butler_mqtt.domain.open_work import Address, Delivery
from butler_mqtt.journal import tables
from butler_mqtt.ledger.callers import Callers
from butler_mqtt.ledger.unit_of_work import UnitOfWork

_log = logging.getLogger("butler_mqtt.ledger")


class Deliveries:
    """
    Writes sessions with the broker, deliveries, and the rows of the outbox.

    A message is written in the same transaction as the state it reports.
    """

    def __init__(self, turn: UnitOfWork, callers: Callers) -> None:
        self._turn = turn
        self._callers = callers

    @property
    def awaited(self) -> Collection[int]:
        """Return the deliveries for whose reply somebody waits at the REST door."""
        return self._callers.deliveries

    def session_began(self) -> int:
        """Record a new session with the broker and return its row."""
        identity = self._turn.new_id(tables.sessions)
        self._turn.unit.insert(tables.sessions, {"id": identity, "started_at": now_ms()})
        return identity

    def acknowledgements_read(self, session: int, up_to: int) -> None:
        """Record up to which delivery the broker has read the PUBACKs of *session*."""
        self._turn.unit.update(tables.sessions, session, read_up_to=up_to)

    def delivered(self, row: int, arrival: Arrival, address: Address, wait: str) -> Delivery:
        """Record that the request *row* arrived, once more or for the first time."""
        identity = self._turn.new_id(tables.deliveries)
        message, origin = arrival.message, arrival.origin
        correlation = message.correlation if message else None
        self._turn.unit.insert(
            tables.deliveries,
            {
                "id": identity,
                "request": row,
                "door": arrival.door,
                "principal": arrival.principal,
                "received_at": arrival.received_at,
                "payload": address.payload,
                "topic": message.topic if message else origin.topic if origin else None,
                "session": address.session if message else None,
                "packet_id": message.packet_id if message else None,
                "digest": address.digest,
                "reply_topic": address.reply_topic,
                "correlation": correlation,
                "wait": wait,
            },
        )
        self._turn.count(self._turn.counting.received, arrival.door)
        if arrival.on_reply is not None:
            self._turn.after(self._callers.add, identity, arrival.on_reply)
        return Delivery(identity, arrival.door, arrival.received_at, wait, address.reply_topic, correlation)

    def answer(self, delivery: Delivery, row: int, request_id: str, answer: str, code: str) -> None:
        """Answer *delivery*, once; *code* is the code or status of the reply, for the metrics."""
        now = now_ms()
        self._turn.unit.update(tables.deliveries, delivery.id, answered_at=now)
        seconds = max(0, now - delivery.received_at) / 1000
        self._turn.count(self._turn.counting.answered, delivery.door, code, seconds)
        if delivery.reply_topic is None:
            self.pass_on(delivery.id, answer)
            return
        self._publish(
            "reply",
            row,
            Publication(
                self._turn.new_id(tables.outbox),
                delivery.reply_topic,
                answer.encode(),
                request_id,
                delivery.correlation,
                delivery.id,
            ),
        )

    def pass_on(self, delivery: int, answer: str) -> None:
        """Pass the reply to *delivery* to who waits for it, once the turn is on disk."""
        self._turn.after(self._callers.answer, delivery, answer)

    def announce(self, row: int, request_id: str, topic: str, event: Mapping[str, object]) -> None:
        """Publish *event* on *topic*; *row* is a request it belongs to."""
        identity = self._turn.new_id(tables.outbox)
        self._publish("event", row, Publication(identity, topic, replies.encode(event).encode(), request_id))

    def published(self, publication: Publication) -> None:
        """Record that the broker has taken a message."""
        self._turn.unit.delete(tables.outbox, publication.id)
        if publication.delivery is not None:
            self._turn.unit.update(tables.deliveries, publication.delivery, confirmed_at=now_ms())
            if publication.instead_of is not None:
                self._turn.unit.update(tables.deliveries, publication.delivery, reply_topic=publication.topic)

    def refused_by_broker(self, publication: Publication, refusals: int, reason: str) -> None:
        """Record that the broker did not take a message, for *reason*; it is sent again."""
        self._turn.unit.update(tables.outbox, publication.id, refusals=refusals)
        if refusals == 1:
            _log.warning(
                "request %s: the broker refuses a message for %s: %s; it is sent again; check that the "
                "broker's ACL lets the daemon write there",
                publication.request_id,
                publication.topic,
                reason,
                extra={"action": "message_refused", "request_id": publication.request_id},
            )

    def suspected(self, publication: Publication, refusals: int, reason: str) -> None:
        """Record that the broker may have closed the connection on a message; it is sent alone now."""
        # The reason beside a message that is no dead letter marks it as suspected, through a restart too.
        self._turn.unit.update(tables.outbox, publication.id, refusals=refusals, reason=reason)
        _log.warning(
            "request %s: the connection ended while a message of %s bytes for %s was unconfirmed: %s; it is "
            "sent alone from now on, and becomes a dead letter if the broker closes the connection each time",
            publication.request_id,
            len(publication.payload),
            publication.topic,
            reason,
            extra={"action": "message_suspected", "request_id": publication.request_id},
        )

    def dead_letter(self, publication: Publication, reason: str) -> None:
        """Record that a message is a dead letter: the broker does not take it, for *reason*."""
        self._turn.unit.update(
            tables.outbox, publication.id, topic=publication.topic, quarantined_at=now_ms(), reason=reason
        )
        self._turn.alerting.undeliverable(publication, reason)
        _log.error(
            "request %s: a message for %s cannot be published: %s; it is a dead letter now: fix the cause, "
            "then butler-mqtt requests resend",
            publication.request_id,
            publication.topic,
            reason,
            extra={"action": "message_quarantined", "request_id": publication.request_id},
        )

    def _publish(self, kind: str, row: int, publication: Publication) -> None:
        self._turn.publications.append(publication)
        self._turn.unit.insert(
            tables.outbox,
            {
                "id": publication.id,
                "request": row,
                "delivery": publication.delivery,
                "kind": kind,
                "topic": publication.topic,
                "payload": publication.payload,
                "request_id": publication.request_id,
                "correlation": publication.correlation,
                "created_at": now_ms(),
                "refusals": 0,
            },
        )
