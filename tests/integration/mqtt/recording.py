"""Recording users of the MQTT adapter, and a plain client that has nothing of ours."""

from __future__ import annotations

import contextlib
import queue
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from butler_mqtt import settings
from butler_mqtt.domain.model import Message, Publication
from butler_mqtt.mqtt.door import Door
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.mqtt.publisher import ReplyPublisher
from tests.brokers import Mosquitto, until

VERSIONS = ("5", "3.1.1")


class Doorkeeper:
    """A door and all it said."""

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        stay_away_seconds: float = 0.3,
        max_backoff_seconds: float = 60.0,
        qrs_unreachable: Callable[[], bool] = lambda: False,
    ) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self.sessions: list[tuple[int, bool]] = []
        self.states: list[DoorState] = []
        self.read: list[tuple[int, int]] = []
        self.fatal: list[BaseException] = []
        self.door = Door(
            mqtt,
            version="1.2.3",
            on_message=self.arrived,
            on_session=lambda generation, present: self.sessions.append((generation, present)),
            on_state=self.states.append,
            on_read=lambda generation, count: self.read.append((generation, count)),
            on_fatal=self.fatal.append,
            stay_away_seconds=stay_away_seconds,
            max_backoff_seconds=max_backoff_seconds,
            qrs_unreachable=qrs_unreachable,
        )

    def arrived(self, message: Message) -> None:
        self.messages.put(message)

    def open(self) -> Self:
        self.door.start()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        until(lambda: self.door.ready, seconds=60, what=f"ready; {self.door.state}: {self.door.reason}")

    def take(self, seconds: float = 60.0) -> Message:
        """Wait for the next request."""
        return self.messages.get(timeout=seconds)

    def acknowledge(self, message: Message) -> None:
        self.door.acknowledge(message.packet_id, message.generation)


class Publisher:
    """The replies' connection and all it said."""

    def __init__(self, mqtt: settings.MqttSettings) -> None:
        self.confirmed: list[int] = []
        self.refused: list[tuple[int, str, bool]] = []
        self.lost: list[int] = []
        self.hung_up: list[str] = []
        self.rooms: queue.Queue[None] = queue.Queue()
        self.fatal: list[BaseException] = []
        self.replies = ReplyPublisher(
            mqtt,
            on_confirmed=self.confirmed.append,
            on_refused=lambda *outcome: self.refused.append(outcome),
            on_lost=self.take_lost,
            on_room=lambda: self.rooms.put(None),
            on_fatal=self.fatal.append,
        )

    def take_lost(self, identities: list[int], hung_up: str) -> None:
        self.lost.extend(identities)
        self.hung_up.append(hung_up)

    def open(self) -> Publisher:
        self.replies.start()
        until(lambda: self.replies.connected, what="replies connected")
        return self

    def publish(self, number: int, topic: str = "qliksense/task/start/reply", **fields: Any) -> bool:
        values = {"payload": b"{}", "request_id": f"r-{number}", **fields}
        return self.replies.publish(Publication(number, topic, **values))


@contextlib.contextmanager
def doorkeeper(mqtt: settings.MqttSettings, **options: Any) -> Iterator[Doorkeeper]:
    """Make a door that is stopped at the end, however it ended."""
    made = Doorkeeper(mqtt, **options)
    try:
        yield made
    finally:
        made.door.stop()
    assert made.fatal == []


@contextlib.contextmanager
def publisher(mqtt: settings.MqttSettings) -> Iterator[Publisher]:
    """Make a publishing connection that is stopped at the end."""
    made = Publisher(mqtt)
    try:
        yield made
    finally:
        made.replies.stop()
    assert made.fatal == []


@contextlib.contextmanager
def plain_client(broker: Mosquitto, *topics: str, client_id: str = "") -> Iterator[PlainClient]:
    """Connect like anybody else and subscribe to *topics* at QoS 1."""
    client = PlainClient(broker, client_id)
    client.connect(topics)
    try:
        yield client
    finally:
        client.close()


class PlainClient:
    """What a sender or a monitoring tool would use."""

    def __init__(self, broker: Mosquitto, client_id: str) -> None:
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._broker = broker
        self._subscribed: queue.Queue[None] = queue.Queue()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        mqtt = broker.settings()
        if mqtt.tls.enable:
            context = ssl.create_default_context(cafile=mqtt.tls.ca_file)
            if mqtt.tls.cert_file is not None:
                context.load_cert_chain(mqtt.tls.cert_file, mqtt.tls.key_file)
            self._client.tls_set_context(context)
        self._client.on_message = lambda _client, _userdata, message: self.messages.put(message)
        self._client.on_subscribe = lambda *_: self._subscribed.put(None)

    def connect(self, topics: tuple[str, ...]) -> None:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        until(self._client.is_connected, what="plain client connected")
        if topics:
            self._client.subscribe([(topic, 1) for topic in topics])
            self._subscribed.get(timeout=60)

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False, **properties: object
    ) -> None:
        """Publish and wait until the broker has it; *properties* are MQTT 5's, in paho's spelling."""
        made = None
        if properties:
            made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
            for name, value in properties.items():
                setattr(made, name, value)
        self._client.publish(topic, payload, qos=qos, retain=retain, properties=made).wait_for_publish(10)

    def take(self, seconds: float = 60.0) -> paho.MQTTMessage:
        return self.messages.get(timeout=seconds)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
