"""
What arrives at the doors becomes requests and deliveries.

One request id has its effect once; the broker's own redeliveries are
recognised; everything malformed is answered.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from butler_mqtt import topics, validation
from butler_mqtt.clock import from_ms, now_ms
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import reading, tables
from butler_mqtt.ledger import Ledger
from butler_mqtt.model import Arrival, Message, Request
from butler_mqtt.records import Address, OpenRequest
from butler_mqtt.settings import Settings

_log = logging.getLogger("butler_mqtt.intake")


@dataclass(frozen=True, slots=True)
class _Parsed:
    arrival: Arrival
    address: Address
    request_id: str
    request: Request | None
    error: RequestError | None


class Intake:
    """Turns arrivals into rows of the ledger, a turn's worth at a time."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._session = 0
        self._session_present = False
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=settings.mqtt.receive_maximum)

    def load(self, connection: Connection) -> None:
        """Read which messages of the newest session were recorded last."""
        self._session = reading.newest_session(connection)
        self._recent.clear()
        for row in reading.recent_deliveries(
            connection, session=self._session, limit=self._recent.maxlen or 0
        ):
            self._recent.append((row["packet_id"], row["digest"]))

    def session_changed(self, present: bool) -> None:
        """Note that a connection with the broker began, with or without the old session."""
        self._session_present = present and self._session > 0
        if not self._session_present:
            self._session = self._ledger.session_began()
            self._recent.clear()

    def receive(
        self, connection: Connection, arrivals: Sequence[Arrival], *, again: bool = False
    ) -> list[OpenRequest]:
        """
        Record *arrivals* and answer what can be answered at once.

        Args:
            connection: The turn's transaction, to look up known request ids.
            arrivals: In order of arrival.
            again: These were handed in before and the transaction failed at
                its end: what is on disk of them already is left alone.

        Returns:
            The new requests, whose tasks are to be found.
        """
        parsed = [self._parse(arrival) for arrival in arrivals if self._is_new(arrival, again)]
        asked = {one.request_id for one in parsed if one.request is not None}
        known = _Known(connection, asked, self._ledger)
        opened = [self._record(one, known) for one in parsed]
        for one in parsed:
            if one.arrival.on_stored is not None:
                self._ledger.effects.append(partial(one.arrival.on_stored, one.request_id))
        return [one for one in opened if one is not None]

    def refuse(self, arrival: Arrival, error: RequestError) -> None:
        """Record an arrival as refused with *error*, whatever it holds."""
        address = self._address(arrival, None, self._settings.mqtt.max_payload_bytes)
        self._ledger.malformed(arrival, error, arrival.request_id or str(uuid.uuid4()), address)

    def _is_new(self, arrival: Arrival, again: bool) -> bool:
        message = arrival.message
        if message is None:
            return True
        if message.retain:
            _log.warning(
                "a message retained on %s was acknowledged and not acted upon: publish requests without "
                "the retain flag, and clear it with an empty retained message",
                message.topic,
                extra={"action": "retained_ignored"},
            )
            return False
        if (again or (message.dup and self._session_present)) and (
            message.packet_id,
            _digest(message),
        ) in self._recent:
            _log.info(
                "packet %s was delivered again by the broker; it is recorded already",
                message.packet_id,
                extra={"action": "redelivery_recognised"},
            )
            return False
        return True

    def _parse(self, arrival: Arrival) -> _Parsed:
        request: Request | None = None
        error: RequestError | None = None
        limit = (
            self._settings.mqtt.max_payload_bytes if arrival.message else self._settings.rest.max_body_bytes
        )
        try:
            request = validation.parse(
                arrival.payload,
                max_bytes=limit,
                path_task_id=arrival.path_task_id,
                max_selectors=self._settings.start_task.max_tasks_per_request,
            )
        except RequestError as refusal:
            error = refusal
        except Exception:  # noqa: BLE001 -- see below
            # A fault of ours in reading one message must not cost the others anything.
            _log.exception("reading a request failed", extra={"action": "bug"})
            error = RequestError("internal_error", "Internal error", "the request could not be read")
        given = (request.request_id if request else None) or (error.request_id if error else None)
        request_id = given or arrival.request_id or str(uuid.uuid4())
        return _Parsed(arrival, self._address(arrival, request, limit), request_id, request, error)

    def _address(self, arrival: Arrival, request: Request | None, limit: int) -> Address:
        entered = time.monotonic() - max(0, now_ms() - arrival.received_at) / 1000
        message = arrival.message
        if message is None:
            return Address(arrival.payload[:limit], entered)
        digest = _digest(message)
        self._recent.append((message.packet_id, digest))
        expires_at = None
        if message.expiry_seconds is not None:
            expires_at = arrival.received_at + message.expiry_seconds * 1000
        wishes = [message.response_topic, request.reply_topic if request else None]
        return Address(
            arrival.payload[:limit],
            entered,
            digest,
            self._session,
            self._reply_topic([wish for wish in wishes if wish]),
            expires_at,
        )

    def _reply_topic(self, wishes: Iterable[str]) -> str:
        for topic in wishes:
            problem = topics.may_reply(self._settings.mqtt, topic)
            if problem is None:
                return topic
            _log.warning(
                "no reply is sent to %r: %s; it goes to %s",
                topic[:200],
                problem,
                self._settings.mqtt.task_start_reply_topic,
                extra={"action": "reply_topic_refused"},
            )
        return self._settings.mqtt.task_start_reply_topic

    def _record(self, one: _Parsed, known: _Known) -> OpenRequest | None:
        ledger = self._ledger
        request = one.request
        if request is None:
            error = one.error or RequestError("internal_error", "Internal error", "the request was not read")
            ledger.malformed(one.arrival, error, one.request_id, one.address)
            return None
        holder = known.holder(one.request_id)
        if holder is not None and holder.fingerprint != request.fingerprint:
            conflict = RequestError(
                "request_id_conflict",
                "Request id already used",
                f"requestId '{one.request_id}' was used for a different request; use a new one",
            )
            ledger.malformed(one.arrival, conflict, one.request_id, one.address, request)
            return None
        if holder is not None:
            ledger.repeated(one.arrival, holder.row, one.request_id, one.address, request.wait, holder.answer)
            return None
        opened = ledger.received(one.arrival, request, one.request_id, one.address)
        late = self._too_late(opened, request)
        if late is not None:
            ledger.refused(opened, late)
        known.add(opened, request.fingerprint)
        return None if late is not None else opened

    def _too_late(self, opened: OpenRequest, request: Request) -> RequestError | None:
        max_age = self._settings.start_task.max_age_seconds
        arrived = from_ms(opened.received_at) or datetime.now(UTC)
        if max_age is not None and request.issued_at is not None:
            age = arrived - request.issued_at
            if age > timedelta(seconds=max_age):
                return RequestError(
                    "expired",
                    "Request expired",
                    f"issuedAt is {age.total_seconds():.0f} s ago; "
                    f"startTask.maxAgeSeconds allows {max_age:g}",
                )
        if opened.expires_at is not None and opened.expires_at <= opened.received_at:
            return RequestError("expired", "Request expired", "expiresAt had passed when the request arrived")
        return None


@dataclass(frozen=True, slots=True)
class _Holder:
    row: int
    fingerprint: str
    answer: str | None


class _Known:
    """The requests that hold the ids of one turn: those on disk and those recorded in this turn."""

    def __init__(self, connection: Connection, request_ids: set[str], ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows = reading.holders(connection, request_ids) if request_ids else {}
        self._new: dict[str, tuple[OpenRequest, str]] = {}

    def holder(self, request_id: str) -> _Holder | None:
        if request_id in self._new:
            opened, fingerprint = self._new[request_id]
            holder = _Holder(opened.id, fingerprint, None)
        elif request_id in self._rows:
            row = self._rows[request_id]
            holder = _Holder(row["id"], row["fingerprint"], row["reply"])
        else:
            return None
        # It may have been answered, or let go of its id, earlier in this turn.
        changed = self._ledger.unit.changed(tables.requests, holder.row)
        if not changed.get("holds_id", True):
            return None
        answer = changed.get("reply")
        return _Holder(holder.row, holder.fingerprint, answer) if isinstance(answer, str) else holder

    def add(self, opened: OpenRequest, fingerprint: str) -> None:
        self._new[opened.request_id] = (opened, fingerprint)


def _digest(message: Message) -> bytes:
    whole = hashlib.sha256(message.topic.encode())
    whole.update(len(message.properties).to_bytes(4, "big") + message.properties.encode())
    whole.update(message.payload)
    return whole.digest()[:16]
