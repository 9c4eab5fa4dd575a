"""
One connection to the broker and the thread that keeps it.

paho-mqtt's own reconnecting is not used: it would send queued publications
again behind our back, and acknowledgements of an old connection on a new one.
Each attempt has a client object of its own, which dies with its connection.
"""

from __future__ import annotations

import logging
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
from butler_mqtt.mqtt.outages import Outages
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
from butler_mqtt.mqtt.reconnect_pauses import MAX_BACKOFF_SECONDS, ReconnectPauses
from butler_mqtt.repeated_lines import RepeatedLines, end_of_outage

logger = logging.getLogger("butler_mqtt.mqtt")

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


class BrokerConnection:
    """
    A thread that connects, serves the connection until it ends, waits and connects again.

    Args:
        mqtt: Where to connect and as whom.
        client_id: The MQTT client id of this connection.
        keep_session: Ask the broker to keep subscriptions and messages while we are not connected.
        peer: What uses the connection.
        on_fatal: Called when the thread dies of an exception; the connection stays dead.
        max_backoff_seconds: The longest wait between two attempts.
        outages: What other connections to the broker know of it; None where there are none.
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
        on_fatal: Callable[[BaseException], None],
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
        outages: Outages | None = None,
        may_pass: Callable[[bytes], bool] = lambda _topic: True,
        keepalive_seconds: int = KEEPALIVE_SECONDS,
    ) -> None:
        self._outages = outages or Outages()
        self._may_pass = may_pass
        self._keepalive_seconds = keepalive_seconds
        self._pauses = ReconnectPauses(max_backoff_seconds)
        self.client_id = client_id
        self.is_v5 = mqtt.protocol_version == "5"
        self._mqtt = mqtt
        self._keep_session = keep_session
        self._peer = peer
        self._on_fatal = on_fatal
        self._stopping = threading.Event()
        self._client: paho.Client | None = None
        self._loop: NetworkLoop | None = None
        self._accepted_at: float | None = None
        self._ended: Ended | None = None
        self._progress = time.monotonic()
        self._last_refusal = ""
        self._lost_lines = RepeatedLines()
        #: Whether the end of the last connection was one of many, and so are the lines about the next.
        self.quiet = False
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client_id}", daemon=True)

    @property
    def where(self) -> str:
        """Name the broker for people."""
        return f"{self._mqtt.broker_host}:{self._mqtt.broker_port}"

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._thread.is_alive()

    def progress(self) -> float:
        """
        Return the monotonic time of the last turn, for a watchdog.

        Turns follow each other within a second; while connecting, name
        resolution and each address of the host may take their timeouts.
        """
        return self._progress

    def start(self) -> None:
        """Begin to connect; raises RuntimeError when called twice."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Disconnect and end the thread, waiting at most *timeout* seconds; harmless when repeated."""
        self._stopping.set()
        client = self._client
        if client is not None:
            client.disconnect()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def leave(self, reason: str, *, refused: bool = False) -> None:
        """Close the connection from the network thread; the attempt ends with *reason*."""
        self._ended = Ended(reason, refused=refused, lasted=self._lasted(), ours=True)
        if self._client is not None:
            self._client.disconnect()

    def send_between(self, packet: bytes) -> bool:
        """Send a packet behind all that paho has queued, from the network thread; False when not now."""
        return self._loop is not None and self._loop.send_between(packet)

    def wake(self) -> None:
        """End the wait of the network loop, from another thread: what it may do has changed."""
        loop = self._loop
        if loop is not None:
            loop.wake()

    def pause(self, seconds: float) -> None:
        """Wait on the network thread, showing progress; a stop cuts it short."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, TURN_SECONDS)):
            self._progress = time.monotonic()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                ended = self._attempt()
                self._log_end(ended)
                if not self._peer.ended(ended):
                    return
                self.pause(self._pauses.next(ended.lasted, refused=ended.refused))
        except BaseException as error:
            logger.critical(
                "The MQTT network thread of %s died: %r",
                self.client_id,
                error,
                exc_info=True,
                extra={"action": "mqtt_thread_died"},
            )
            self._on_fatal(error)

    def _attempt(self) -> Ended:
        """Connect once and serve the connection until it ends."""
        self._ended = None
        self._accepted_at = None
        self._progress = time.monotonic()
        try:
            client = new_client(self._mqtt, self.client_id, keep_session=self._keep_session, limited=True)
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

    def _failed(self, error: BrokerError | OSError | UnicodeError) -> Ended:
        """Judge what ended an attempt; a UnicodeError is about a host name that DNS cannot express."""
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
            now = self._progress = time.monotonic()
            self._peer.turned()
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
        gone = self._outages.reached()
        if gone is not None:
            self.quiet = False
        session = f", {'resumed' if flags.session_present else 'new'} session" if self._keep_session else ""
        logger.log(
            (logging.DEBUG if self.quiet else logging.INFO) if gone is None else end_of_outage(gone),
            "Connected to %s as %s, MQTT %s%s%s",
            self.where,
            self.client_id,
            self._mqtt.protocol_version,
            session,
            "" if gone is None else f"; the broker was not reached for {gone:.0f} s",
            extra={"action": "mqtt_connected"},
        )
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

    def _log_end(self, ended: Ended) -> None:
        """
        Log a refusal as an error once per reason, and a broker out of reach as a warning once.

        A connection that is lost again and again is a line a minute for each reason.
        """
        if self.stopping:
            return
        self.quiet = False
        again = ended.refused and ended.reason == self._last_refusal
        self._last_refusal = ended.reason if ended.refused else ""
        line = (
            "MQTT broker %s, client id %s: %s; trying again",
            self.where,
            self.client_id,
            ended.reason,
        )
        if ended.refused:
            logger.log(logging.DEBUG if again else logging.ERROR, *line, extra={"action": "mqtt_refused"})
        elif ended.lasted is None:
            logger.log(self._outages.unreachable(ended.reason), *line, extra={"action": "mqtt_unreachable"})
        else:
            self.quiet = self._lost_lines.level(ended.reason) == logging.DEBUG
            logger.log(logging.DEBUG if self.quiet else logging.INFO, *line, extra={"action": "mqtt_lost"})
