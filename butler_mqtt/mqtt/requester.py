"""Asking as any sender does: publish a request, wait for the reply to it."""

from __future__ import annotations

import json
import secrets
import ssl
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.contract import topics
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt import refusals
from butler_mqtt.mqtt.paho_client import connect, guarded, named, new_client, problem_of, tls_reason
from butler_mqtt.mqtt.presence import UNREACHABLE, Status, parse
from butler_mqtt.mqtt.publish_content import content_of

#: The longest one turn of the network loop waits, seconds.
TURN_SECONDS = 0.2
#: Seconds for the broker to answer CONNECT, SUBSCRIBE and PUBLISH.
BROKER_SECONDS = 10.0
#: "No matching subscribers": the broker has taken a message that nobody will ever get (MQTT 5.0, 3.4.2.1).
_NOBODY = 0x10
#: The ticket of replies that name no request of ours.
OTHERS = b""


class Requester:
    """
    One connection that publishes requests and receives the replies; a context manager.

    All methods belong to one thread, whose calls also serve the connection.

    Args:
        mqtt: Where to connect; its client id and session are not touched.
        hear_all: Also subscribe to `taskStartReplyTopic`, where requests without a reply topic are answered.
        hear_events: Also subscribe to the events of all tasks, as far as the broker lets us.
    """

    def __init__(
        self, mqtt: settings.MqttSettings, *, hear_all: bool = False, hear_events: bool = False
    ) -> None:
        self._mqtt = mqtt
        self._is_v5 = mqtt.protocol_version == "5"
        token = secrets.token_hex(6)
        own = f"{mqtt.task_start_reply_topic}/{token}"
        #: Where replies are asked to go.
        self.reply_topic = mqtt.task_start_reply_topic if topics.may_reply(mqtt, own) else own
        # A request may be refused before its replyTopic is read.
        common = {mqtt.task_start_reply_topic} if hear_all or not self._is_v5 else set()
        self._topics = {self.reply_topic, mqtt.status_topic} | common
        if hear_events:
            # Those of tasks, and of the stages of requests.
            self._topics |= {f"{mqtt.task_event_topic}/+", f"{mqtt.task_event_topic}/request/+"}
        self._client = new_client(mqtt, f"{mqtt.client_id}-ask-{token}", keep_session=False)
        self._client.on_connect = guarded(self._on_connect)
        self._client.on_disconnect = guarded(self._on_disconnect)
        self._client.on_subscribe = guarded(self._on_subscribe)
        self._client.on_publish = guarded(self._on_publish)
        self._client.on_message = guarded(self._on_message)
        self._connected = self._subscribed = False
        self._trouble = ""
        self._problem: Callable[[], Exception | None] = lambda: None
        self._confirmed: dict[int, ReasonCode] = {}
        self._tickets: set[bytes] = set()
        self._replies: defaultdict[bytes, deque[bytes]] = defaultdict(deque)
        #: Events not yet taken out, oldest first.
        self.events: deque[bytes] = deque()
        #: The daemon's last status message, None without one.
        self.daemon: Status | None = None
        #: Replies that have arrived so far.
        self.received = 0

    def __enter__(self) -> Self:
        """
        Connect and subscribe.

        Raises:
            BrokerError: The broker cannot be reached, or refuses us.
        """
        try:
            connect(self._client, self._mqtt, keep_session=False)
            self._problem = problem_of(self._client)
            self._turn_until(lambda: self._connected, "CONNECT")
            self._client.subscribe([(topic, 1) for topic in sorted(self._topics)])
            self._turn_until(lambda: self._subscribed, "SUBSCRIBE")
        except ssl.SSLError as error:
            raise BrokerError(f"{self.where}: TLS failed: {tls_reason(error)}") from error
        except (OSError, UnicodeError) as error:
            raise BrokerError(
                f"{self.where} cannot be reached: {error}; see mqttConfig.brokerHost"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        if self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop(TURN_SECONDS)

    @property
    def where(self) -> str:
        """Name the broker for people."""
        return f"the MQTT broker {self._mqtt.broker_host}:{self._mqtt.broker_port}"

    def ask(self, document: Mapping[str, object]) -> bytes:
        """
        Publish a request that has a `requestId`, its reply to come to us.

        With MQTT 5 by Response Topic and Correlation Data, with 3.1.1 by
        `replyTopic` in the request.

        Returns:
            The ticket for `receive`.

        Raises:
            BrokerError: As `publish`.
        """
        if not self._is_v5:
            ticket = str(document["requestId"]).encode()
            self._tickets.add(ticket)
            self.publish(json.dumps({**document, "replyTopic": self.reply_topic}).encode())
            return ticket
        ticket = secrets.token_bytes(8)
        self._tickets.add(ticket)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.ResponseTopic = self.reply_topic
        properties.CorrelationData = ticket
        self.publish(json.dumps(document).encode(), properties)
        return ticket

    def publish(self, payload: bytes, properties: Properties | None = None, topic: str | None = None) -> None:
        """
        Publish *payload* as it is on *topic*, else `taskStartTopic`, and wait until the broker has it.

        Raises:
            BrokerError: The broker refuses it, is lost, or has no subscriber for it.
        """
        topic = topic or self._mqtt.task_start_topic
        packet = self._client.publish(topic, payload, qos=1, properties=properties).mid
        self._turn_until(lambda: packet in self._confirmed, "PUBLISH")
        reason = self._confirmed.pop(packet)
        if reason.value >= 0x80:
            raise BrokerError(f"{self.where} refuses requests on {topic}: {named(reason)}")
        if reason.value == _NOBODY:
            raise BrokerError(
                f"{self.where} has dropped the request: nobody is subscribed to {topic}; {self.presence()}. "
                "Start the daemon, then send it again"
            )

    def receive(self, ticket: bytes, seconds: float) -> bytes | None:
        """
        Wait for the next reply to a request; None when it has not come within *seconds*.

        Raises:
            BrokerError: The broker is lost.
        """
        self.wait(lambda: bool(self._replies[ticket]), seconds)
        return self._replies[ticket].popleft() if self._replies[ticket] else None

    def has_reply(self, ticket: bytes) -> bool:
        """Return whether a reply has come that `receive` would give at once."""
        return bool(self._replies[ticket])

    def wait(self, fact: Callable[[], object], seconds: float) -> bool:
        """
        Serve the connection until *fact* returns something true; False when it has not within *seconds*.

        Raises:
            BrokerError: The broker is lost.
        """
        deadline = time.monotonic() + seconds
        while not fact():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            lost = self._client.loop(min(left, TURN_SECONDS)) != paho.MQTT_ERR_SUCCESS
            if self._trouble:
                raise BrokerError(f"{self.where}: {self._trouble}")
            if (problem := self._problem()) is not None:
                raise BrokerError(f"{self.where}: {problem}")
            if lost:
                hint = "" if self._connected else f" unanswered; {refusals.unanswered(self._mqtt)}"
                raise BrokerError(f"{self.where} has closed the connection{hint}")
        return True

    def presence(self) -> str:
        """Explain what is known about the daemon."""
        if self.daemon is None:
            return f"no daemon has ever shown itself on {self._mqtt.status_topic}"
        since = f"{self.daemon.started_at:%Y-%m-%d %H:%M:%S} UTC"
        shown = f"according to {self._mqtt.status_topic} the daemon, started {since}, is {self.daemon.status}"
        if self.daemon.qrs == UNREACHABLE:
            shown += " and does not reach the Qlik server: the request waits for it"
        return shown

    # ---- callbacks, within `wait`

    def _turn_until(self, fact: Callable[[], object], packet: str) -> None:
        if not self.wait(fact, BROKER_SECONDS):
            raise BrokerError(f"{self.where} does not answer {packet}; {refusals.unanswered(self._mqtt)}")

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._trouble = f"it refused the connection: {refusals.explained(reason, self._mqtt, None)}"
        self._connected = True

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._trouble = self._trouble or f"it closed the connection: {named(reason)}"

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _packet: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [
            topic for topic, reason in zip(sorted(self._topics), reasons, strict=False) if reason.is_failure
        ]
        if self.reply_topic in refused:
            self._trouble = f"it refuses the subscription to {self.reply_topic}, where the reply would come"
        self._subscribed = True

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        packet: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._confirmed[packet] = reason

    def _on_message(self, client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        payload, values = content_of(message)
        if message.topic == self._mqtt.status_topic:
            self.daemon = parse(payload) or self.daemon
            return
        if message.topic.startswith(f"{self._mqtt.task_event_topic}/"):
            self.events.append(payload)
            return
        self.received += 1
        ticket = values.get("CorrelationData") or _request_id(payload)
        self._replies[ticket if ticket in self._tickets else OTHERS].append(payload)


def _request_id(payload: bytes) -> bytes:
    try:
        return str(json.loads(payload)["requestId"]).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return OTHERS
