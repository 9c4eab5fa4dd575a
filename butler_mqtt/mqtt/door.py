"""
The door: requests arrive here, on a session that the broker keeps while the daemon is down.

The same connection carries the daemon's `presence`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.connection import BrokerConnection
from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.door_state import DoorState, ReportedState
from butler_mqtt.mqtt.hangups import Hangups
from butler_mqtt.mqtt.in_hand import InHand
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.mqtt.paho_client import BrokerLimits, guarded
from butler_mqtt.mqtt.presence import Presence, Status, new_instance, parse, session_taken_over
from butler_mqtt.mqtt.puback_proof import Proof
from butler_mqtt.mqtt.publish_content import content_of
from butler_mqtt.mqtt.received_message import received
from butler_mqtt.mqtt.reconnect_pauses import MAX_BACKOFF_SECONDS
from butler_mqtt.mqtt.status_wait import RETAINED_STATUS_SECONDS, StatusWait
from butler_mqtt.mqtt.subscription import SUBACK_SECONDS, RequestSubscription

logger = logging.getLogger("butler_mqtt.mqtt")

RETAIN_NOT_SUPPORTED = 0x9A


@dataclass(frozen=True, slots=True)
class _Session:
    """The connection that acknowledgements may go out on, what waits for them, proof that they were read."""

    generation: int
    client: paho.Client
    proof: Proof
    in_hand: InHand


class Door:
    """
    The subscription to `taskStartTopic` and to the topics of senders.

    All callables are called on the network thread (`on_state(STOPPED)` on the
    caller's of `stop`), must return at once and should not raise.

    Args:
        mqtt: Where to connect, and the topics.
        version: Of this program, for the status messages.
        on_message: Gets every request; QoS 0 messages have packet id 0.
        on_session: Gets (generation, session present) after each CONNACK, before messages of it.
        on_state: Gets each change of `state`.
        on_read: Gets (generation, count): the broker has read so many acknowledgements of that connection.
        on_fatal: Gets the exception the network thread died of.
        instance: Name of this process among all daemons; random when not given.
        stay_away_seconds: From TAKEN_OVER to GIVEN_UP.
        max_backoff_seconds: The longest wait between two attempts to connect.
        outages: Shared with the other connections of the process.
        qrs_unreachable: For the status: whether the Qlik server does not answer.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        version: str,
        on_message: Callable[[Message], None],
        on_session: Callable[[int, bool], None],
        on_state: Callable[[DoorState], None],
        on_fatal: Callable[[BaseException], None],
        on_read: Callable[[int, int], None] = lambda _generation, _count: None,
        instance: str | None = None,
        stay_away_seconds: float,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
        outages: Outages | None = None,
        qrs_unreachable: Callable[[], bool] = lambda: False,
    ) -> None:
        self.instance = instance or new_instance()
        self._mqtt = mqtt
        self._on_message = guarded(on_message)
        self._on_session = guarded(on_session)
        self._on_read = guarded(on_read)
        self._stay_away_seconds = stay_away_seconds
        self._reported = ReportedState(guarded(on_state))
        self._generation = 0
        self._session: _Session | None = None
        ours = Status("online", self.instance, datetime.now(UTC), version)
        self._status_topic = mqtt.status_topic.encode()
        self._presence = Presence(mqtt, ours, qrs_unreachable)
        self._hangups = Hangups(mqtt.status_topic)
        self._subscription = RequestSubscription(mqtt)
        self._status_wait = StatusWait()
        self._connection = BrokerConnection(
            mqtt,
            client_id=mqtt.client_id,
            keep_session=True,
            peer=self,
            on_fatal=on_fatal,
            max_backoff_seconds=max_backoff_seconds,
            outages=outages,
            may_pass=self._has_room,
        )

    @property
    def state(self) -> DoorState:
        """Whether requests can arrive; `reason` says why not."""
        return self._reported.state

    @property
    def reason(self) -> str:
        """Why the state is what it is, for people."""
        return self._reported.reason

    @property
    def ready(self) -> bool:
        """Whether requests can arrive now."""
        return self.state is DoorState.READY

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._connection.alive

    def progress(self) -> float:
        """Return the monotonic time of the network thread's last turn, for a watchdog."""
        return self._connection.progress()

    def start(self) -> None:
        """Begin to connect; raises RuntimeError when called twice."""
        self._connection.start()

    def acknowledge(self, packet_id: int, generation: int) -> None:
        """
        Send the PUBACK of a message; call in order of arrival, from any thread; one of QoS 0 is done with.

        An acknowledgement of an earlier connection is dropped: the broker has
        forgotten that delivery and sends the message again.
        """
        session = self._session
        if session is None or session.generation != generation:
            return
        if packet_id:
            # A client object serves one connection, so this cannot reach a later one.
            session.client.ack(packet_id, 1)
            session.proof.acknowledged()
        session.in_hand.done()

    def reconfigured(self, mqtt: settings.MqttSettings) -> None:
        """Let requests arrive on other topics, without a new connection; called from another thread."""
        self._subscription.reconfigured(mqtt)
        self._connection.wake()

    def stop(self, timeout: float = 5.0) -> None:
        """
        Publish `offline`, disconnect and end the thread, within *timeout* seconds.

        The broker keeps the session. Harmless before `start` and when repeated.
        """
        deadline = time.monotonic() + timeout
        session = self._session
        taken_over = self.state is DoorState.TAKEN_OVER
        if session is not None and self._presence.shown and not (self._connection.stopping or taken_over):
            published = self._presence.publish_offline(session.client)
            # An error means that the connection was lost; then the will says the same.
            with contextlib.suppress(RuntimeError, ValueError):
                published.wait_for_publish(min(timeout / 2, 2.0))
        self._connection.stop(max(deadline - time.monotonic(), 0.1))
        self._reported.become(DoorState.STOPPED, "stopped")

    # What the connection calls.

    @property
    def will_topic(self) -> str | None:
        """The topic of the will, None where the status is left out."""
        return self._mqtt.status_topic if self._presence.shown else None

    def prepare(self, client: paho.Client) -> None:
        """Set will and callbacks."""
        self._presence.prepare(client, shown=self._hangups.with_status)
        client.on_message = guarded(self._received)
        client.on_subscribe = guarded(self._subscribed)
        client.on_publish = guarded(self._published)

    def accepted(self, client: paho.Client, session_present: bool, limits: BrokerLimits) -> None:
        """Begin a generation and subscribe."""
        self._generation += 1
        self._hangups.accepted()
        self._status_wait.end()
        # Before the first birth the retained status is a predecessor's, and there is nothing to wait for.
        if self._presence.born and self._presence.shown:
            self._status_wait.begin()
        proof = Proof(client, partial(self._on_read, self._generation))
        in_hand = InHand(self._mqtt.receive_maximum, self._connection.wake)
        self._session = _Session(self._generation, client, proof, in_hand)
        if not limits.retain_available:
            self._presence.drop_retain()
        _warn_of_short_session(self._mqtt, limits)
        self._on_session(self._generation, session_present)
        self._subscription.began()
        self._hangups.sent(self._subscription.send(client, with_status=self._presence.shown))

    @guarded
    def turned(self) -> None:
        """Do what is due."""
        waited = self._status_wait.overdue
        if self._session is not None:
            self._session.proof.turned(self._connection.send_between)
            if not self._session.in_hand.has_room():
                if not self.ready and self.state is not DoorState.TAKEN_OVER:
                    # The answer stands behind messages, which show that there is a subscription.
                    waited = waited or self._subscription.awaited() > RETAINED_STATUS_SECONDS
                self._subscription.postpone()
            sent = self._presence.refresh(self._session.client) if self.ready else None
            if sent is not None:
                self._hangups.sent(sent)
            if self.ready and self._subscription.outdated:
                self._hangups.sent(self._subscription.send(self._session.client, with_status=False))
        if self._subscription.overdue:
            self._subscription.end()
            self._connection.leave(f"the broker did not answer SUBSCRIBE within {SUBACK_SECONDS:.0f} s")
        if waited:
            self._end_wait()
        if self._session is not None and self._hangups.retry():
            self._connection.leave(f"trying again with the status on {self._mqtt.status_topic}")

    def ended(self, ended: Ended) -> bool:
        """Record the end of a connection; False when another daemon has our client id."""
        self._session = None
        self._subscription.end()
        self._status_wait.end()
        if self._connection.stopping:
            return True
        if ended.code == RETAIN_NOT_SUPPORTED:
            self._presence.drop_retain()
        if self.state is not DoorState.TAKEN_OVER:
            evidence = session_taken_over(ended)
            if evidence is not None:
                self._taken_over(evidence)
            elif (suspicion := self._hangups.closed(ended)) is not None:
                logger.warning(
                    "MQTT broker %s, client id %s: %s",
                    self._connection.where,
                    self._mqtt.client_id,
                    suspicion,
                    extra={"action": "mqtt_hung_up"},
                )
        if self.state is DoorState.TAKEN_OVER:
            self._connection.pause(self._stay_away_seconds)
            if not self._connection.stopping:
                self._reported.become(DoorState.GIVEN_UP, self.reason)
            return False
        reason = "; ".join(part for part in (ended.reason, self._hangups.suspicion) if part)
        self._reported.become(DoorState.REFUSED if ended.refused else DoorState.CONNECTING, reason)
        return True

    # Callbacks of paho.

    def _subscribed(
        self,
        client: paho.Client,
        _userdata: object,
        _packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refusal = self._subscription.refusal(reasons, quiet=self._connection.quiet)
        if refusal is not None:
            self._connection.leave(refusal, refused=True)
            return
        if self.ready:
            return  # of other topics than before
        if not self._subscription.sees_status(reasons):
            self._status_wait.hurry()
        if not self._status_wait.going_on:
            self._open(client)

    def _received(self, client: paho.Client, _userdata: object, packet: paho.MQTTMessage) -> None:
        message = received(packet, content_of(packet), generation=self._generation)
        if message.topic == self._mqtt.status_topic:
            self._accept_status(client, message)
        elif self.state is DoorState.TAKEN_OVER:
            pass  # not acknowledged: it belongs to the other daemon
        elif self._session is not None and self._session.in_hand.takes():
            self._subscription.brought(client, message.topic)
            if self._status_wait.going_on:
                self._status_wait.hold(message)
            else:
                self._on_message(message)

    def _published(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._presence.acknowledged(packet_id, reason)

    # Messages.

    def _has_room(self, topic: bytes) -> bool:
        return self._session is None or self._session.in_hand.has_room() or topic == self._status_topic

    def _open(self, client: paho.Client) -> None:
        """Be online."""
        if self._presence.shown:
            self._hangups.sent(self._presence.publish_birth(client))
        self._reported.become(DoorState.READY, "subscribed")

    def _end_wait(self) -> None:
        """Be online, since no other daemon is, and pass on what was held back."""
        for message in self._status_wait.end():
            self._on_message(message)
        if self._session is not None:
            self._open(self._session.client)

    def _accept_status(self, client: paho.Client, message: Message) -> None:
        """Leave when it shows another daemon with our client id; else end the wait for it."""
        status = parse(message.payload)
        if self._presence.born and status is not None:
            evidence = self._presence.evidence(status, retained=message.retain)
            if evidence is not None:
                self._taken_over(evidence)
                self._connection.leave(evidence)
                return
            if self._presence.is_foreign(status) and not message.retain:
                self._presence.repeat(client)
        if message.retain and self._status_wait.going_on:
            self._end_wait()

    def _taken_over(self, reason: str) -> None:
        self._status_wait.end()
        logger.error(
            "Client id %s is in use elsewhere: %s. Not connecting for %.0f s, then ending; "
            "give each daemon its own mqttConfig.clientId and statusTopic, or stop one",
            self._mqtt.client_id,
            reason,
            self._stay_away_seconds,
            extra={"action": "mqtt_taken_over"},
        )
        self._reported.become(DoorState.TAKEN_OVER, reason)


def _warn_of_short_session(mqtt: settings.MqttSettings, limits: BrokerLimits) -> None:
    granted = limits.session_expiry_seconds
    if granted is not None and granted < mqtt.session_expiry_seconds:
        logger.warning(
            "The broker keeps our session for %d s only, not %d s: "
            "requests published while the daemon is down for longer are lost",
            granted,
            mqtt.session_expiry_seconds,
            extra={"action": "mqtt_limits"},
        )
