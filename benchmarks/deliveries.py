"""A sender that keeps books: each delivery has correlation data of its own, and what came back for it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.rig import START_TOPIC

SESSION_SECONDS = 86_400


@dataclass(eq=False)
class Delivery:
    """One delivery; `request` numbers the request, whose id is None where the daemon makes one."""

    request: int
    task: str
    body: dict[str, object]
    correlation: bytes
    sent: float
    repeats: int = 0
    replies: Counter[bytes] = field(default_factory=Counter)


class Deliveries:
    """
    Publishes at QoS 1 in a session that the broker keeps; a context manager.

    What the broker had not acknowledged when the connection was lost is
    published again after it is back, as any sender does.

    Args:
        port: The broker's.
        name: Client id, and part of the reply topic and of the correlation data.
        inflight: Messages on their way without the broker's PUBACK; 0 is no limit.
    """

    def __init__(self, port: int, name: str, *, inflight: int = 20) -> None:
        self._port = port
        self._name = name
        self._reply_topic = f"qliksense/{name}/reply"
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self.all: list[Delivery] = []
        self._open: dict[bytes, Delivery] = {}
        self._by_correlation: dict[bytes, Delivery] = {}
        #: Replies whose correlation data nobody sent.
        self.strays: list[bytes] = []
        #: Publications that the broker has acknowledged.
        self.taken = 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.max_inflight_messages = inflight
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type] # fractions work as well
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish

    def __enter__(self) -> Self:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.SessionExpiryInterval = SESSION_SECONDS
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(10), "the sender could not subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def open(self) -> int:
        """Count the deliveries without a reply."""
        return len(self._open)

    def send(self, request: int, task: str, body: dict[str, object]) -> Delivery:
        """Publish one delivery of a request."""
        with self._lock:
            correlation = f"{self._name}.{request}.{len(self.all)}".encode()
            delivery = Delivery(request, task, body, correlation, time.monotonic())
            self.all.append(delivery)
            self._open[correlation] = self._by_correlation[correlation] = delivery
        self._publish(delivery)
        return delivery

    def repeat(self, patience: float) -> int:
        """
        Publish again, with the same request id, what got no reply in *patience* seconds; give how many.

        The patience doubles each time, so that a daemon that has much to do gets no more by it.
        """
        now = time.monotonic()
        with self._lock:
            late = [
                one
                for one in self._open.values()
                if now - one.sent > patience * 2**one.repeats and "requestId" in one.body
            ]
            for one in late:
                one.sent = now
                one.repeats += 1
        for one in late:
            self._publish(one)
        return len(late)

    def wait_from_now(self) -> None:
        """Restart the time allowed for what got no reply."""
        with self._lock:
            for one in self._open.values():
                one.sent = time.monotonic()

    def _publish(self, delivery: Delivery) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.ResponseTopic = self._reply_topic
        properties.CorrelationData = delivery.correlation
        self._client.publish(START_TOPIC, json.dumps(delivery.body), qos=1, properties=properties)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(self._reply_topic, 1)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_publish(self, *_: Any) -> None:
        self.taken += 1

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        with self._lock:
            delivery = self._by_correlation.get(correlation)
            if delivery is None:
                self.strays.append(correlation)
                return
            delivery.replies[bytes(message.payload)] += 1
            self._open.pop(correlation, None)
