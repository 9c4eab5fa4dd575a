"""
The connection on which messages for rules arrive, with a session of its own.

On the door's they would stand before requests: a broker delivers in order, and a
flood on a rule's topic would hold up what starts tasks. And a broker that does not
take a rule's filter does no harm to requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.connection import BrokerConnection
from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.in_hand import InHand
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.mqtt.paho_client import BrokerLimits, guarded
from butler_mqtt.mqtt.puback_proof import Proof
from butler_mqtt.mqtt.publish_content import content_of
from butler_mqtt.mqtt.received_message import received
from butler_mqtt.mqtt.reconnect_pauses import MAX_BACKOFF_SECONDS
from butler_mqtt.mqtt.rule_subscriptions import ANSWER_SECONDS, RuleSubscriptions


class _Session(NamedTuple):
    """The connection that acknowledgements may go out on, what waits for them, proof that they were read."""

    generation: int
    client: paho.Client
    proof: Proof
    in_hand: InHand


class RuleDoor:
    """
    The subscriptions of rules; connects once there are some.

    All callables are called on the network thread, must return at once and should not raise.

    Args:
        mqtt: Where to connect; its client id with `-rules` behind it is that of this session.
        on_message: Gets every message, with its filters.
        on_session: Gets (generation, session present) after each CONNACK, before messages of it.
        on_read: Gets (generation, count): the broker has read so many acknowledgements of that connection.
        on_answer: Gets what the broker says of a filter.
        on_fatal: Gets the exception the network thread died of.
        taken_over: Whether another daemon has our client id: its are the messages then.
        max_backoff_seconds: The longest wait between two attempts to connect.
        outages: Shared with the other connections of the process.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        on_message: Callable[[Message], None],
        on_session: Callable[[int, bool], None],
        on_read: Callable[[int, int], None],
        on_answer: Callable[[RuleFilterAnswered], None],
        on_fatal: Callable[[BaseException], None],
        taken_over: Callable[[], bool] = lambda: False,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
        outages: Outages | None = None,
    ) -> None:
        self._mqtt = mqtt
        self._on_message = guarded(on_message)
        self._on_session = guarded(on_session)
        self._on_read = guarded(on_read)
        self._taken_over = taken_over
        self._generation = 0
        self._session: _Session | None = None
        self._subscriptions = RuleSubscriptions(mqtt, guarded(on_answer))
        #: Guards the start of the thread: the first filter may come with a reload.
        self._lock = threading.Lock()
        self._may_run = False
        #: The monotonic time at which the thread was started, None before.
        self._began: float | None = None
        self._connection = BrokerConnection(
            mqtt,
            client_id=f"{mqtt.client_id}-rules",
            keep_session=True,
            peer=self,
            on_fatal=on_fatal,
            max_backoff_seconds=max_backoff_seconds,
            outages=outages,
            may_pass=self._has_room,
        )

    @property
    def connected(self) -> bool | None:
        """Whether messages for rules can arrive; None while there are no filters."""
        return None if self._subscriptions.empty else self._session is not None

    def progress(self) -> float:
        """Return the monotonic time of the network thread's last turn, for a watchdog."""
        return time.monotonic() if self._began is None else max(self._began, self._connection.progress())

    def start(self) -> None:
        """Connect as soon as there are filters."""
        with self._lock:
            self._may_run = True
            self._run_if_needed()

    def subscribe(self, wanted: Mapping[int, str], unwanted: Mapping[int, str]) -> None:
        """
        Subscribe to filters and unsubscribe from others, by their identifiers, without a reconnect.

        From any thread; each with a packet of its own.
        """
        with self._lock:
            self._subscriptions.want(wanted, unwanted)
            self._run_if_needed()
        self._connection.wake()

    def acknowledge(self, packet_id: int, generation: int) -> None:
        """Send the PUBACK of a message, as `Door.acknowledge`; one of QoS 0 is done with."""
        session = self._session
        if session is None or session.generation != generation:
            return
        if packet_id:
            session.client.ack(packet_id, 1)
            session.proof.acknowledged()
        session.in_hand.done()

    def stop(self, timeout: float = 5.0) -> None:
        """Disconnect and end the thread, within *timeout* seconds; the broker keeps the session."""
        with self._lock:
            self._may_run = False
        self._connection.stop(timeout)

    # What the connection calls.

    @property
    def will_topic(self) -> str | None:
        """None: the will is the door's."""
        return None

    def prepare(self, client: paho.Client) -> None:
        """Set callbacks."""
        client.on_message = guarded(self._received)
        client.on_subscribe = guarded(self._subscribed)
        client.on_unsubscribe = guarded(self._unsubscribed)

    def accepted(self, client: paho.Client, session_present: bool, limits: BrokerLimits) -> None:
        """Begin a generation; the next turn subscribes."""
        self._generation += 1
        proof = Proof(client, partial(self._on_read, self._generation))
        in_hand = InHand(self._mqtt.receive_maximum, self._connection.wake)
        self._session = _Session(self._generation, client, proof, in_hand)
        self._subscriptions.accepted(
            with_identifiers=self._mqtt.protocol_version == "5" and limits.subscription_identifiers
        )
        self._on_session(self._generation, session_present)

    @guarded
    def turned(self) -> None:
        """Do what is due."""
        session = self._session
        if session is None:
            return
        session.proof.turned(self._connection.send_between)
        if not session.in_hand.has_room():
            self._subscriptions.postpone()
        if self._subscriptions.overdue:
            self._subscriptions.ended(hung_up=False)
            self._connection.leave(f"the broker did not answer within {ANSWER_SECONDS:.0f} s")
            return
        self._subscriptions.turned(session.client)

    def ended(self, ended: Ended) -> bool:
        """Record the end of a connection."""
        self._session = None
        self._subscriptions.ended(hung_up=ended.hung_up and not self._connection.stopping)
        return True

    # ---- helpers

    def _run_if_needed(self) -> None:
        if self._may_run and self._began is None and not self._subscriptions.empty:
            self._began = time.monotonic()
            self._connection.start()

    def _has_room(self, _topic: bytes) -> bool:
        return self._session is None or self._session.in_hand.has_room()

    def _received(self, _client: paho.Client, _userdata: object, packet: paho.MQTTMessage) -> None:
        if self._taken_over():
            return  # not acknowledged: it belongs to the other daemon
        if self._session is not None and not self._session.in_hand.takes():
            return
        content = content_of(packet)
        brought = self._subscriptions.brought(content.identifiers, packet.topic)
        message = received(packet, content, generation=self._generation)
        self._on_message(message._replace(filters=brought, user_properties=content.user_properties))

    def _subscribed(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._subscriptions.subscribed(packet_id, reasons)

    def _unsubscribed(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._subscriptions.unsubscribed(packet_id, reasons)
