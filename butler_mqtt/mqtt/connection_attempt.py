"""
One attempt to connect to the broker, and the connection that comes of it.

It has a client object of its own, which dies with it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt import refusals
from butler_mqtt.mqtt.connack import OtherVersion
from butler_mqtt.mqtt.network_loop import NetworkLoop
from butler_mqtt.mqtt.oversize import ProtocolError
from butler_mqtt.mqtt.paho_client import (
    KEEPALIVE_SECONDS,
    BrokerLimits,
    connect,
    guarded,
    named,
    new_client,
    tls_reason,
)

CONNACK_TIMEOUT_SECONDS = 10.0
#: Seconds that one turn of the network loop waits for traffic at most.
TURN_SECONDS = 0.5

#: CONNACK reasons that pass by themselves: unavailable, busy, quota, use another server, rate exceeded.
_PASSING = frozenset({0x88, 0x89, 0x97, 0x9C, 0x9F})

_KEEP_ALIVE_TIMEOUT = 0x8D
#: DISCONNECT reasons that no packet of ours causes: unavailable, busy, shutting down, keep alive
#: timeout, session taken over, administrative action, use another server, server moved, rate exceeded,
#: maximum connect time (MQTT 5.0, 3.14.2.1).
_UNRELATED = frozenset({0x88, 0x89, 0x8B, 0x8D, 0x8E, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})


@dataclass(frozen=True, slots=True)
class Ended:
    """
    How a connection, or an attempt at one, ended.

    `refused`: the broker or TLS said no, so waiting alone fixes nothing.
    `lasted` is seconds since it was accepted, None when it never was. `code` is
    the MQTT reason code the broker gave. `ours`: we closed it.
    """

    reason: str
    refused: bool = False
    lasted: float | None = None
    code: int | None = None
    ours: bool = False

    @property
    def hung_up(self) -> bool:
        """Whether the broker closed it, perhaps because of something that was sent."""
        return self.lasted is not None and not self.ours and self.code not in _UNRELATED


class Peer(Protocol):
    """What uses a connection; all methods are called on the connection's thread."""

    @property
    def will_topic(self) -> str | None:
        """The topic of the will that `prepare` has set, None without one."""

    def prepare(self, client: paho.Client) -> None:
        """Set callbacks and will, before CONNECT."""

    def accepted(self, client: paho.Client, session_present: bool, limits: BrokerLimits) -> None:
        """Take the CONNACK, before any message of that connection; a callback of paho."""

    def turned(self) -> None:
        """Do what is due; after every turn of the network loop, outside paho's callbacks."""

    def ended(self, ended: Ended) -> bool:
        """Take the end of an attempt; False ends the thread."""


class ConnectionAttempt:
    """
    Connects once, and serves the connection until it ends.

    Args:
        mqtt: Where to connect and as whom.
        client_id: The MQTT client id.
        keep_session: Ask the broker to keep subscriptions and messages while we are not connected.
        peer: What uses the connection.
        stopping: Set when it is to end.
        on_accepted: Called with whether the session was present, before the peer.
        on_turn: Called after each turn of the network loop, before the peer.
        may_pass: As for `PacketSocket`.
        keepalive_seconds: Without traffic, after which the broker is asked for an answer, and given up.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        client_id: str,
        keep_session: bool,
        peer: Peer,
        stopping: threading.Event,
        on_accepted: Callable[[bool], None],
        on_turn: Callable[[], None],
        may_pass: Callable[[bytes], bool],
        keepalive_seconds: int = KEEPALIVE_SECONDS,
    ) -> None:
        self._mqtt = mqtt
        self._client_id = client_id
        self._keep_session = keep_session
        self._peer = peer
        self._stopping = stopping
        self._on_accepted = on_accepted
        self._on_turn = on_turn
        self._may_pass = may_pass
        self._keepalive_seconds = keepalive_seconds
        self._client: paho.Client | None = None
        self._loop: NetworkLoop | None = None
        self._accepted_at: float | None = None
        self._ended: Ended | None = None

    def run(self) -> Ended:
        """Return how it ended."""
        try:
            client = new_client(self._mqtt, self._client_id, keep_session=self._keep_session, limited=True)
            client.on_connect = guarded(self._on_connect)
            client.on_disconnect = guarded(self._on_disconnect)
            self._peer.prepare(client)
            self._client = client
            with NetworkLoop(client, may_pass=self._may_pass) as loop:
                self._loop = loop
                connect(
                    client,
                    self._mqtt,
                    keep_session=self._keep_session,
                    limited=True,
                    keepalive_seconds=self._keepalive_seconds,
                )
                self._serve(client, loop)
        except (BrokerError, OSError, UnicodeError) as error:
            return self._failed(error)
        finally:
            self._client = None
            self._loop = None
        if self._ended is not None:
            return self._ended
        if self._accepted_at is None:
            return Ended(f"the broker did not answer CONNECT; {refusals.unanswered(self._mqtt)}")
        return Ended("the connection was closed", lasted=self._lasted())

    def disconnect(self) -> None:
        """Send DISCONNECT, from any thread, if there is a connection."""
        client = self._client
        if client is not None:
            client.disconnect()

    def leave(self, reason: str, *, refused: bool) -> None:
        """Close the connection from the network thread; it ends with *reason*."""
        self._ended = Ended(reason, refused=refused, lasted=self._lasted(), ours=True)
        self.disconnect()

    def send_between(self, packet: bytes) -> bool:
        """Send a packet behind all that paho has queued, from the network thread; False when not now."""
        return self._loop is not None and self._loop.send_between(packet)

    def wake(self) -> None:
        """End the wait of the network loop, from another thread."""
        loop = self._loop
        if loop is not None:
            loop.wake()

    def _failed(self, error: BrokerError | OSError | UnicodeError) -> Ended:
        """Judge what ended it; a UnicodeError is about a host name that DNS cannot express."""
        if isinstance(error, BrokerError):
            return Ended(str(error), refused=True)
        if isinstance(error, OtherVersion):
            return Ended(str(error), refused=not error.passing)
        if isinstance(error, ssl.SSLError):
            # A broker that goes down during the handshake just ends the stream.
            refused = self._accepted_at is None and not isinstance(error, ssl.SSLEOFError)
            return Ended(f"TLS failed: {tls_reason(error)}", refused=refused, lasted=self._lasted())
        reason = str(error) or type(error).__name__
        return Ended(reason, lasted=self._lasted(), ours=isinstance(error, ProtocolError))

    def _serve(self, client: paho.Client, loop: NetworkLoop) -> None:
        """Turn the network loop until the connection is gone."""
        deadline = time.monotonic() + CONNACK_TIMEOUT_SECONDS
        asked_to_stop = False
        while (rc := loop.turn(TURN_SECONDS)) == paho.MQTT_ERR_SUCCESS and client.socket() is not None:
            self._on_turn()
            self._peer.turned()
            now = time.monotonic()
            if self._stopping.is_set() and not asked_to_stop:
                asked_to_stop = True
                deadline = now + 1.0
                client.disconnect()
            if now > deadline and (self._accepted_at is None or asked_to_stop):
                return
        if rc == paho.MQTT_ERR_PROTOCOL and self._ended is None:
            reason = "the broker sent a packet that cannot be read"
            self._ended = Ended(reason, lasted=self._lasted(), ours=True)

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            explained = refusals.explained(reason, self._mqtt, self._peer.will_topic)
            self._ended = Ended(
                f"the broker refused the connection: {explained}",
                refused=reason.value not in _PASSING,
                code=reason.value,
            )
            return
        self._accepted_at = time.monotonic()
        self._on_accepted(flags.session_present)
        self._peer.accepted(client, flags.session_present, BrokerLimits.of(properties))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._ended is not None:
            return
        if flags.is_disconnect_packet_from_server:
            why = f"the broker closed the connection: {named(reason)}"
            self._ended = Ended(why, lasted=self._lasted(), code=reason.value)
        elif reason.value == _KEEP_ALIVE_TIMEOUT:
            seconds = f"for {self._keepalive_seconds} s"
            why = f"the broker did not answer {seconds}"
            if self._loop is not None and self._loop.held_up:
                why = (
                    f"{seconds} no answer of the broker could be read: "
                    "messages stand before it that wait for room"
                )
            self._ended = Ended(why, lasted=self._lasted(), ours=True)

    def _lasted(self) -> float | None:
        return None if self._accepted_at is None else time.monotonic() - self._accepted_at
