"""Trying a broker out: one short connection at a time, each step with its answer."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from butler_mqtt import settings
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.connack import OtherVersion
from butler_mqtt.mqtt.paho_client import (
    BrokerLimits,
    connect,
    guarded,
    named,
    new_client,
    problem_of,
    tls_reason,
)
from butler_mqtt.mqtt.publish_content import content_of

#: Seconds for the broker to answer one step.
STEP_SECONDS = 5.0
#: Seconds for which a session of a probe outlives it, should it not be removed.
SESSION_SECONDS = 60


class ProbeRefused(BrokerError):
    """
    The broker answered and said no.

    `reason` is its own text, `code` its MQTT 5 reason code if any, `advice` what
    to change where the answer itself shows it.
    """

    def __init__(self, reason: str, code: int | None = None, advice: str = "") -> None:
        self.reason = reason
        self.code = code
        self.advice = advice
        super().__init__(reason)


class ProbeSilent(BrokerError):
    """Something took the connection and does not answer CONNECT."""


class Probe:
    """
    One connection of a given client id; a context manager that connects and disconnects.

    Args:
        mqtt: Where to connect.
        client_id: Not the daemon's own, whose session it would take.
        keep_session: Whether the broker shall keep the session when this ends.
        only_ask: With *keep_session* and MQTT 5: see what is granted, and end the session all the same.
        will: Topic and payload of a retained will, which this connection takes back when it ends.

    Raises:
        ProbeRefused: A certificate file cannot be used; on entering, the broker refused the connection.
        ProbeSilent: On entering, it was there and did not answer.
        BrokerError: On entering, it could not be reached.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        client_id: str,
        *,
        keep_session: bool,
        only_ask: bool = False,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self._mqtt = mqtt
        self._is_v5 = mqtt.protocol_version == "5"
        self._keep_session = keep_session
        self._only_ask = only_ask and self._is_v5
        self.limits = BrokerLimits()
        self.session_present = False
        self.received: list[tuple[str, bytes]] = []
        self._connected: ReasonCode | None = None
        self._granted: list[ReasonCode] | None = None
        self._confirmed: ReasonCode | None = None
        self._closed = False
        try:
            self._client = new_client(mqtt, client_id, keep_session=keep_session)
        except BrokerError as error:
            raise ProbeRefused(str(error)) from error
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = guarded(self._on_connect)
        self._client.on_subscribe = guarded(self._on_subscribe)
        self._client.on_publish = guarded(self._on_publish)
        self._client.on_message = guarded(self._on_message)

    def __enter__(self) -> Self:
        try:
            self._enter()
        except BaseException:
            self._let_go()
            raise
        return self

    def _enter(self) -> None:
        mqtt = self._mqtt
        try:
            connect(self._client, mqtt, keep_session=self._keep_session)
        except ssl.SSLError as error:
            raise ProbeRefused(f"TLS: {tls_reason(error)}") from error
        except (OSError, UnicodeError) as error:
            raise BrokerError(f"{mqtt.broker_host}:{mqtt.broker_port}: {error}") from error
        problem = problem_of(self._client)
        if not self._turn_until(lambda: self._connected is not None):
            if isinstance(other := problem(), OtherVersion):
                raise ProbeRefused(other.reason, advice=other.advice)
            if self._closed:
                raise ProbeRefused(
                    f"it closes the connection unanswered: does it speak MQTT {mqtt.protocol_version}, "
                    "or ask for TLS or a client certificate?"
                )
            raise ProbeSilent(f"{mqtt.broker_host}:{mqtt.broker_port} does not answer CONNECT")
        if self._connected is not None and self._connected.is_failure:
            raise ProbeRefused(named(self._connected), self._connected.value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        properties = None
        if self._only_ask:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        self._turn_until(lambda: not self._client.want_write())
        self._let_go()

    def _let_go(self) -> None:
        """Break the circle between paho's client and us: its end closes its sockets, at once."""
        client = self._client
        client.on_connect = client.on_subscribe = client.on_publish = client.on_message = None

    def subscribe(self, topic: str) -> None:
        """
        Subscribe at QoS 1, without stored messages where MQTT 5 allows it.

        Raises:
            ProbeRefused: The broker granted less than QoS 1.
        """
        self._granted = None
        if self._is_v5:
            options = SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            self._client.subscribe(topic, options=options)
        else:
            self._client.subscribe(topic, 1)
        if not self._turn_until(lambda: self._granted is not None) or self._granted is None:
            raise ProbeRefused(self._silence("SUBSCRIBE"))
        if self._granted[0].value != 1:
            raise ProbeRefused(named(self._granted[0]), self._granted[0].value)

    def publish(self, topic: str, payload: bytes) -> None:
        """
        Publish at QoS 1, not retained.

        Raises:
            ProbeRefused: The broker did not take it.
        """
        self._confirmed = None
        properties = Properties(PacketTypes.PUBLISH) if self._is_v5 else None  # type: ignore[no-untyped-call] # paho leaves it untyped
        self._client.publish(topic, payload, qos=1, properties=properties)
        if not self._turn_until(lambda: self._confirmed is not None) or self._confirmed is None:
            raise ProbeRefused(self._silence("PUBLISH"))
        if self._confirmed.is_failure:
            raise ProbeRefused(named(self._confirmed), self._confirmed.value)

    def _silence(self, packet: str) -> str:
        return f"{packet} is answered by closing the connection" if self._closed else f"no answer to {packet}"

    def hears(self, payload: bytes, seconds: float = STEP_SECONDS) -> bool:
        """Return whether a message with *payload* arrives within *seconds*."""
        return self._turn_until(lambda: any(body == payload for _, body in self.received), seconds)

    def retained(self, topic: str, seconds: float = 1.0) -> bytes | None:
        """Return the message stored on *topic*, None when none comes within *seconds*."""
        self._client.subscribe(topic, 0)
        self._turn_until(lambda: any(name == topic for name, _ in self.received), seconds)
        return next((body for name, body in self.received if name == topic), None)

    def _turn_until(self, done: Callable[[], bool], seconds: float = STEP_SECONDS) -> bool:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() >= end:
                return done()
            if self._client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                self._closed = True
                return done()
        return True

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.session_present = flags.session_present
        self.limits = BrokerLimits.of(properties)
        self._connected = reason

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._granted = reasons

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        _packet_id: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._confirmed = reason

    def _on_message(self, client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self.received.append((message.topic, content_of(message).payload))
        client.ack(message.mid, message.qos)
