"""
What arrives at the doors becomes requests and deliveries.

One request id has its effect once; the broker's own redeliveries are
recognised; everything malformed is answered.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import NamedTuple

from butler_mqtt.clock import from_ms, now_ms
from butler_mqtt.contract import topics
from butler_mqtt.domain.model import Arrival, Request
from butler_mqtt.domain.open_work import Address, Delivery, OpenRequest
from butler_mqtt.domain.senders import Caller
from butler_mqtt.errors import RequestError
from butler_mqtt.intake import duplicates
from butler_mqtt.intake.body_cache import BodyCache
from butler_mqtt.intake.duplicates import Holder, Holders
from butler_mqtt.intake.redelivery import Packet, digest_of
from butler_mqtt.intake.request_packets import RequestPackets
from butler_mqtt.intake.sender_limits import Admission
from butler_mqtt.journal import tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.journal.write_batch import WriteBatch
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import Settings

_chance = random.Random()  # noqa: S311 -- an id is no secret; seeded by the system

_log = logging.getLogger("butler_mqtt.intake")


class _Parsed(NamedTuple):
    """What an arrival holds; `given`: its id came with it, `packet`: what a redelivery is compared with."""

    arrival: Arrival
    caller: Caller
    packet: Packet | None
    address: Address
    request_id: str
    given: bool
    request: Request | None
    error: RequestError | None


class Intake:
    """Turns arrivals into rows of the ledger, a turn's worth at a time."""

    def __init__(self, settings: Settings, turn: UnitOfWork, ledger: Ledger) -> None:
        self._settings = settings
        # A sender names the same topic in each of its requests; a topic has 64 KB at most.
        self._may_reply = lru_cache(maxsize=64)(partial(topics.may_reply, settings.mqtt))
        self._bodies = BodyCache(
            settings.start_task.max_tasks_per_request, parameters=settings.key_value_store.enable
        )
        self._admission = Admission(settings)
        self._turn = turn
        self._ledger = ledger
        #: Tells which messages of the broker are recorded already.
        self.packets = RequestPackets(ledger.deliveries, ledger.notes, settings.mqtt.receive_maximum)
        #: The turn in hand, and the requests it has recorded by their ids.
        self._unit: WriteBatch | None = None
        self._new: dict[str, tuple[OpenRequest, str]] = {}

    def load(self, transaction: Transaction) -> None:
        """Read what is on disk; forget what belongs to a turn that failed."""
        self.packets.load(transaction)
        self._admission.load(transaction)

    def reconfigured(self, settings: Settings, transaction: Transaction) -> None:
        """Take requests from other senders, and other topics, from now on."""
        self._settings = settings
        self._may_reply = lru_cache(maxsize=64)(partial(topics.may_reply, settings.mqtt))
        self._admission.reconfigured(settings, transaction)

    def receive(
        self, transaction: Transaction, arrivals: Sequence[Arrival], *, again: bool = False
    ) -> list[OpenRequest]:
        """
        Record *arrivals* and answer what can be answered at once.

        Args:
            transaction: That of the turn, to read known request ids.
            arrivals: In order of arrival.
            again: This turn was attempted before and its transaction failed at
                the end: what is on disk of it already is left alone.

        Returns:
            The new requests, whose tasks are to be resolved.
        """
        if self._unit is not self._turn.unit:
            self._unit, self._new = self._turn.unit, {}
            if not again:
                self.packets.begin_attempt(self._turn.last_id(tables.deliveries))
        parsed = []
        for arrival in arrivals:
            digest = None if arrival.message is None else digest_of(arrival.message)
            packet = None
            if arrival.message is not None and digest is not None:
                is_new, packet = self.packets.recognise(transaction, arrival.message, digest, again=again)
                if not is_new:
                    continue
            elif arrival.given_up is not None and arrival.given_up():
                continue
            parsed.append(self._parse(arrival, digest, packet))
        # An id made here is new.
        asked = {one.request_id for one in parsed if one.request is not None and one.given}
        holders = Holders(transaction, asked, self._turn, self._new)
        opened = [self._record(one, holders) for one in parsed]
        for one in parsed:
            if one.arrival.on_stored is not None:
                self._turn.after(one.arrival.on_stored, one.request_id)
        return [one for one in opened if one is not None]

    def recorded(self, request_id: str) -> OpenRequest | None:
        """Return the request of this turn that has that id; None if it came before, or not at all."""
        if self._unit is not self._turn.unit or request_id not in self._new:
            return None
        return self._new[request_id][0]

    def refuse(self, arrival: Arrival, error: RequestError) -> None:
        """Record an arrival as refused with *error*, whatever it holds; one of a rule that is judged, too."""
        digest = None if arrival.message is None else digest_of(arrival.message)
        limit = self._settings.mqtt.max_payload_bytes
        caller = self._admission.caller(arrival)
        address = self._address(arrival, caller, digest, None, limit)
        request_id = arrival.request_id or _new_id()
        # It is refused in any case; as after a restart, it is one of the last minute.
        self._admission.counted(caller, arrival.received_at)
        self._ledger.requests.malformed(arrival, error, request_id, address)
        if arrival.on_stored is not None:
            self._turn.after(arrival.on_stored, request_id)

    def _parse(self, arrival: Arrival, digest: bytes | None, packet: Packet | None) -> _Parsed:
        request: Request | None = None
        error: RequestError | None = None
        limit = (
            self._settings.mqtt.max_payload_bytes if arrival.message else self._settings.rest.max_body_bytes
        )
        try:
            request = self._bodies.parse(arrival.payload, limit, arrival.path_task_id)
        except RequestError as refusal:
            error = refusal
        except Exception:  # noqa: BLE001 -- see below
            # A fault of ours in reading one message must not cost the others anything.
            _log.exception("reading a request failed", extra={"action": "bug"})
            error = RequestError("internal_error", "Internal error", "the request could not be read")
        given = (request.request_id if request else None) or (error.request_id if error else None)
        given = given or arrival.request_id
        if error is not None and arrival.rule is not None and error.code != "internal_error":
            error = RequestError(
                "rule_failed",
                "Rule failed",
                f"rule {arrival.rule} made a request that is not valid: {error.details}",
            )
        request_id = given or _new_id()
        caller = self._admission.caller(arrival)
        reply_topic = error.reply_topic if error else None
        address = self._address(arrival, caller, digest, request, limit, reply_topic)
        return _Parsed(arrival, caller, packet, address, request_id, given is not None, request, error)

    def _address(
        self,
        arrival: Arrival,
        caller: Caller,
        digest: bytes | None,
        request: Request | None,
        limit: int,
        reply_topic: str | None = None,
    ) -> Address:
        entered = time.monotonic() - max(0, now_ms() - arrival.received_at) / 1000
        message, origin = arrival.message, arrival.origin
        if origin is not None:
            # Who calls a webhook waits for the reply; else the message was not meant for us.
            topic = self._settings.mqtt.task_start_reply_topic if arrival.on_reply is None else None
            return Address(
                origin.payload,
                entered,
                reply_topic=topic,
                expires_at=origin.expires_at,
                identity=caller.identity,
            )
        if message is None:
            return Address(arrival.payload[:limit], entered, identity=caller.identity)
        expires_at = None
        if message.expiry_seconds is not None:
            expires_at = arrival.received_at + message.expiry_seconds * 1000
        asked = [message.response_topic, request.reply_topic if request else reply_topic]
        return Address(
            arrival.payload[:limit],
            entered,
            digest,
            self.packets.session_of(message),
            self._reply_topic([topic for topic in asked if topic]),
            expires_at,
            caller.identity,
        )

    def _reply_topic(self, asked: Iterable[str]) -> str:
        for topic in asked:
            problem = self._may_reply(topic)
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

    def _record(self, one: _Parsed, holders: Holders) -> OpenRequest | None:
        ledger, request = self._ledger, one.request
        holder = holders.of(one.request_id) if request is not None else None
        refusal = self._admission.turned_away(one.caller)
        if refusal is None and request is not None and holder is not None and _repeats(one, request, holder):
            self._repeat(one, request, holder)
            return None
        refusal = refusal or self._refusal(one, holder)
        if refusal is not None or request is None:
            error = refusal or RequestError("internal_error", "Internal error", "the request was not read")
            delivery = ledger.requests.malformed(one.arrival, error, one.request_id, one.address, request)
            self._place(one, delivery)
            self._count(one, error.code)
            return None
        opened = ledger.requests.received(one.arrival, request, one.request_id, one.address)
        self._place(one, opened.deliveries[-1])
        self._count(one, "accepted")
        late = self._too_late(opened, request)
        if late is not None:
            ledger.requests.refused(opened, late)
        holders.add(opened, request.fingerprint)
        return None if late is not None else opened

    def _refusal(self, one: _Parsed, holder: Holder | None) -> RequestError | None:
        """Return why a request that is none from before is refused as it comes; None if it is not."""
        refusal = self._admission.counted(one.caller, one.arrival.received_at)
        if refusal is None and holder is not None:
            refusal = duplicates.conflict(one.request_id)
        if refusal is not None or one.request is None:
            return refusal or one.error
        return self._admission.forbids(one.caller, one.request)

    def _repeat(self, one: _Parsed, request: Request, holder: Holder) -> None:
        """Record a repetition: it gets the reply of what it repeats, at the end only if that waits for it."""
        ledger = self._ledger
        wait = request.wait if holder.waits else "started"
        delivery = ledger.requests.repeated(
            one.arrival,
            holder.row,
            one.request_id,
            one.address,
            wait,
            wants_decision=holder.waits and wait == "started",
        )
        self._place(one, delivery)
        self._count(one, "repeated")
        answer = holder.final_answer or (holder.answer if wait == "started" else None)
        opened = ledger.requests.open.get(holder.row) or ledger.requests.finishing.get(holder.row)
        if answer is not None:
            ledger.deliveries.answer(delivery, holder.row, one.request_id, answer, "repeated")
        elif opened is not None:
            opened.deliveries.append(delivery)

    def _count(self, one: _Parsed, outcome: str) -> None:
        if one.caller.identity is not None:
            self._turn.count(self._turn.counting.asked, one.caller.identity, outcome)

    def _place(self, one: _Parsed, delivery: Delivery) -> None:
        if one.packet is not None:
            self.packets.placed(one.packet, one.address.session, delivery.id)

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


def _repeats(one: _Parsed, request: Request, holder: Holder) -> bool:
    """Return whether a request is the one that holds its id; another sender's is another one."""
    ours = holder.identity is None or one.caller.owns(holder.identity)
    return ours and holder.fingerprint == request.fingerprint


def _new_id() -> str:
    """Make an id as `uuid.uuid4` does, without asking the system, which would release the interpreter."""
    digits = f"{_chance.getrandbits(128):032x}"
    # Version and variant (RFC 9562, 4) at their places.
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
