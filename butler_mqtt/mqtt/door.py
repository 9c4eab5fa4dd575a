"""
The door: requests arrive here, on a session the broker keeps while we are away.

Also on this connection: birth and will on `statusTopic`, and the recognition
of another daemon that uses our client id.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from butler_mqtt import settings
from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.connection import MAX_BACKOFF_SECONDS, BrokerConnection, Ended
from butler_mqtt.mqtt.hangups import Hangups
from butler_mqtt.mqtt.paho_client import BrokerLimits, guarded, named
from butler_mqtt.mqtt.puback_proof import Proof
from butler_mqtt.mqtt.received_message import received
from butler_mqtt.mqtt.status import Status, new_instance, parse
from butler_mqtt.mqtt.takeover import Takeover

logger = logging.getLogger("butler_mqtt.mqtt")

#: A broker that takes longer to answer SUBSCRIBE is left and tried again.
SUBACK_SECONDS = 10.0
#: How long a reconnected daemon waits for the retained status before it publishes its own.
POLL_SECONDS = 1.0
RETAIN_NOT_SUPPORTED = 0x9A


class DoorState(StrEnum):
    """Whether requests can arrive."""

    #: Not connected: the broker cannot be reached or lost us; tried again for ever.
    CONNECTING = "connecting"
    #: Subscribed at QoS 1: requests arrive.
    READY = "ready"
    #: The broker answers and says no (credentials, rights, certificate); tried again, waiting mends nothing.
    REFUSED = "refused"
    #: Another daemon uses our client id; we stay away so that it can work.
    TAKEN_OVER = "taken_over"
    #: We stayed away long enough for supervisors not to fight: end the process.
    GIVEN_UP = "given_up"
    #: Ended by `stop`.
    STOPPED = "stopped"


class Door:
    """
    The subscription to `taskStartTopic`.

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
        stay_away_seconds: float = 60.0,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
    ) -> None:
        self.instance = instance or new_instance()
        self.reason = "no answer yet"
        self._mqtt = mqtt
        self._online = Status("online", self.instance, datetime.now(UTC), version)
        self._on_message = guarded(on_message)
        self._on_session = guarded(on_session)
        self._on_state = guarded(on_state)
        self._on_read = guarded(on_read)
        self._stay_away_seconds = stay_away_seconds
        self._state = DoorState.CONNECTING
        self._state_lock = threading.Lock()
        self._generation = 0
        #: The connection acknowledgements may go out on, its generation, and the proof that they were read.
        self._current: tuple[int, paho.Client, Proof] | None = None
        self._retain = True
        self._birth_id: int | None = None
        self._was_born = False
        self._takeover = Takeover(self._online)
        self._hangups = Hangups(mqtt.status_topic)
        #: Whether this connection has birth, will and the subscription to `statusTopic`.
        self._with_status = True
        self._suback_until: float | None = None
        #: While the retained status is awaited: until when, and the requests held back meanwhile.
        self._wait_until: float | None = None
        self._held: list[Message] = []
        self._connection = BrokerConnection(
            mqtt,
            client_id=mqtt.client_id,
            keep_session=True,
            peer=self,
            on_fatal=on_fatal,
            max_backoff_seconds=max_backoff_seconds,
        )

    @property
    def state(self) -> DoorState:
        """Tell whether requests can arrive; `reason` says why not."""
        return self._state

    @property
    def ready(self) -> bool:
        """Tell whether requests can arrive now."""
        return self._state is DoorState.READY

    @property
    def alive(self) -> bool:
        """Tell whether the network thread runs."""
        return self._connection.alive

    def progress(self) -> float:
        """Give the monotonic time of the network thread's last turn, for a watchdog."""
        return self._connection.progress()

    def start(self) -> None:
        """Begin to connect; raises RuntimeError when called twice."""
        self._connection.start()

    def acknowledge(self, packet_id: int, generation: int) -> None:
        """
        Send the PUBACK of a message; call in order of arrival, from any thread.

        An acknowledgement of an earlier connection is dropped: the broker has
        forgotten that delivery and sends the message again.
        """
        current = self._current
        if current is not None and current[0] == generation and packet_id:
            # A client object serves one connection, so this cannot reach a later one.
            current[1].ack(packet_id, 1)
            current[2].acknowledged()

    def stop(self, timeout: float = 5.0) -> None:
        """
        Publish `offline`, disconnect and end the thread, within *timeout* seconds.

        The broker keeps the session. Harmless before `start` and when repeated.
        """
        deadline = time.monotonic() + timeout
        current = self._current
        taken_over = self._state is DoorState.TAKEN_OVER
        if current is not None and self._with_status and not (self._connection.stopping or taken_over):
            published = self._publish_status(current[1], replace(self._online, status="offline"))
            # An error means that the connection went away; the will then says the same.
            with contextlib.suppress(RuntimeError, ValueError):
                published.wait_for_publish(min(timeout / 2, 2.0))
        self._connection.stop(max(deadline - time.monotonic(), 0.1))
        self._become(DoorState.STOPPED, "stopped")

    # What the connection calls.

    def prepare(self, client: paho.Client) -> None:
        """Set will and callbacks."""
        self._with_status = self._hangups.with_status
        if self._with_status:
            offline = replace(self._online, status="offline").payload()
            client.will_set(self._mqtt.status_topic, offline, qos=1, retain=self._retain)
        client.on_message = guarded(self._received)
        client.on_subscribe = guarded(self._subscribed)
        client.on_publish = guarded(self._published)

    def accepted(self, client: paho.Client, session_present: bool, limits: BrokerLimits) -> None:
        """Begin a generation and subscribe, whatever the session holds: it may be that of other settings."""
        self._generation += 1
        self._birth_id = None
        self._held.clear()
        self._hangups.accepted()
        # Before the first birth the retained status is a predecessor's and there is nothing to look for.
        look = self._was_born and self._with_status
        self._wait_until = time.monotonic() + POLL_SECONDS if look else None
        proof = Proof(client, partial(self._on_read, self._generation))
        self._current = (self._generation, client, proof)
        if not limits.retain_available:
            self._without_retain()
        self._warn_of_short_session(limits)
        self._on_session(self._generation, session_present)
        self._suback_until = time.monotonic() + SUBACK_SECONDS
        self._subscribe(client)

    @guarded
    def turned(self) -> None:
        """End what was waited for in vain."""
        if self._current is not None:
            self._current[2].turned(self._connection.send_between)
        if self._suback_until is not None and time.monotonic() > self._suback_until:
            self._suback_until = None
            self._connection.leave(f"the broker did not answer SUBSCRIBE within {SUBACK_SECONDS:.0f} s")
        if self._wait_until is not None and time.monotonic() > self._wait_until:
            self._end_wait()
        if self._current is not None and self._hangups.retry():
            self._connection.leave(f"trying again with the status on {self._mqtt.status_topic}")

    def ended(self, ended: Ended) -> bool:
        """Take the end of a connection; False when another daemon has our client id."""
        self._current = None
        self._suback_until = None
        self._wait_until = None
        self._held.clear()
        if self._connection.stopping:
            return True
        if ended.code == RETAIN_NOT_SUPPORTED and self._retain:
            self._without_retain()
        if self._state is not DoorState.TAKEN_OVER:
            evidence = self._takeover.closed(ended)
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
        if self._state is DoorState.TAKEN_OVER:
            self._connection.pause(self._stay_away_seconds)
            if not self._connection.stopping:
                self._become(DoorState.GIVEN_UP, self.reason)
            return False
        reason = "; ".join(part for part in (ended.reason, self._hangups.suspicion) if part)
        self._become(DoorState.REFUSED if ended.refused else DoorState.CONNECTING, reason)
        return True

    # Subscriptions.

    def _subscribe(self, client: paho.Client) -> None:
        task, status = self._mqtt.task_start_topic, self._mqtt.status_topic
        both = 2 if self._with_status else 1
        self._hangups.sent(f"SUBSCRIBE to {' and '.join((task, status)[:both])}")
        if not self._connection.is_v5:
            client.subscribe([(task, 1), (status, 0)][:both])
            return
        # Without No Local for the status: brokers apply it by client id, so it would hide the very daemon
        # that is looked for.
        wanted = [
            (task, SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)),
            (status, SubscribeOptions(0, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)),
        ]
        client.subscribe(wanted[:both])

    def _subscribed(
        self,
        client: paho.Client,
        _userdata: object,
        _packet_id: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._suback_until = None
        topic = self._mqtt.task_start_topic
        if reasons[0].value != 1:
            granted = named(reasons[0]) if reasons[0].is_failure else f"QoS {reasons[0].value} instead of 1"
            reason = (
                f"the subscription to {topic} was answered with {granted}; "
                f"the broker's ACL must let {self._who()} read it at QoS 1"
            )
            self._connection.leave(reason, refused=True)
            return
        if self._with_status and reasons[1].is_failure:
            logger.warning(
                "The broker refused the subscription to %s (%s): allow %s to read it, "
                "else a second daemon with this client id is recognised late",
                self._mqtt.status_topic,
                named(reasons[1]),
                self._who(),
                extra={"action": "mqtt_status_refused"},
            )
            self._wait_until = None if self._wait_until is None else 0.0
        logger.info("Subscribed to %s at QoS 1", topic, extra={"action": "mqtt_subscribed"})
        if self._wait_until is None:
            self._open(client)

    def _open(self, client: paho.Client) -> None:
        """Be online."""
        if self._with_status:
            retained = ", retained," if self._retain else ""
            self._hangups.sent(f"the status{retained} to {self._mqtt.status_topic}")
            self._birth_id = self._publish_status(client, self._online).mid
        self._become(DoorState.READY, "subscribed")

    def _end_wait(self) -> None:
        """Nobody else was here: be online and hand on what was held back."""
        self._wait_until = None
        held, self._held = self._held, []
        for message in held:
            self._on_message(message)
        if self._current is not None:
            self._open(self._current[1])

    # Messages.

    def _received(self, client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self._take(client, received(message, generation=self._generation))

    def _take(self, client: paho.Client, message: Message) -> None:
        if message.topic == self._mqtt.status_topic:
            self._status_received(client, message)
        elif self._state is DoorState.TAKEN_OVER:
            pass  # not acknowledged: it belongs to the daemon that works
        elif self._wait_until is not None:
            self._held.append(message)
        else:
            self._on_message(message)

    def _status_received(self, client: paho.Client, message: Message) -> None:
        """Leave when it shows another daemon with our client id; else it ends a look."""
        status = parse(message.payload)
        if self._was_born and status is not None:
            evidence = self._takeover.seen(status, retained=message.retain)
            if evidence is not None:
                self._taken_over(evidence)
                self._connection.leave(evidence)
                return
            if self._takeover.is_foreign(status) and not message.retain:
                # The late will of a predecessor has replaced our retained birth.
                self._publish_status(client, self._online)
        if message.retain and self._wait_until is not None:
            self._end_wait()

    def _published(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        if packet_id != self._birth_id:
            return
        self._was_born = not reason.is_failure
        if reason.is_failure:
            logger.warning(
                "The broker refused our status on %s (%s): allow %s to write it",
                self._mqtt.status_topic,
                named(reason),
                self._who(),
                extra={"action": "mqtt_status_refused"},
            )

    def _publish_status(self, client: paho.Client, status: Status) -> paho.MQTTMessageInfo:
        return client.publish(self._mqtt.status_topic, status.payload(), qos=1, retain=self._retain)

    # States.

    def _become(self, state: DoorState, reason: str) -> None:
        with self._state_lock:
            self.reason = reason
            if state is self._state or self._state is DoorState.STOPPED:
                return
            self._state = state
        self._on_state(state)

    def _taken_over(self, reason: str) -> None:
        self._held.clear()
        self._wait_until = None
        logger.error(
            "Client id %s is in use elsewhere: %s. Staying away for %.0f s, then ending; "
            "give each daemon its own mqttConfig.clientId and statusTopic, or stop one",
            self._mqtt.client_id,
            reason,
            self._stay_away_seconds,
            extra={"action": "mqtt_taken_over"},
        )
        self._become(DoorState.TAKEN_OVER, reason)

    def _without_retain(self) -> None:
        if self._retain:
            self._retain = False
            logger.warning(
                "The broker keeps no retained messages: who subscribes to %s later will not see our status",
                self._mqtt.status_topic,
                extra={"action": "mqtt_limits"},
            )

    def _warn_of_short_session(self, limits: BrokerLimits) -> None:
        granted = limits.session_expiry_seconds
        if granted is not None and granted < self._mqtt.session_expiry_seconds:
            logger.warning(
                "The broker keeps our session for %d s only, not %d s: "
                "requests published while we are away for longer are lost",
                granted,
                self._mqtt.session_expiry_seconds,
                extra={"action": "mqtt_limits"},
            )

    def _who(self) -> str:
        user = self._mqtt.username
        return f"user {user}" if user is not None else f"client {self._mqtt.client_id}"
