"""A sender as other systems are: publishes requests at QoS 1, counts the replies."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.rig import BARE_TOPIC, START_TOPIC


class Sender:
    """Publishes with MQTT 5; every reply goes to a topic of this sender."""

    def __init__(self, port: int) -> None:
        name = f"bench-{uuid.uuid4().hex[:8]}"
        self._port = port
        self.reply_topic = f"qliksense/{name}/reply"
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self.replies = 0
        self.started = 0
        self.others: list[dict[str, Any]] = []
        self.last_reply = 0.0
        #: Monotonic time of each reply by its request id.
        self.answered: dict[str, float] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        # 0 is no limit: a burst leaves at once.
        self._client.max_inflight_messages = 0
        self._client.on_message = self._on_message
        self._client.on_socket_open = _no_delay
        self._client.on_connect = lambda client, *_: client.subscribe(self.reply_topic, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        self._properties.ResponseTopic = self.reply_topic

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._subscribed.wait(10), "the sender could not subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        answer = json.loads(message.payload)
        with self._changed:
            self.replies += 1
            self.last_reply = self.answered[answer["requestId"]] = time.monotonic()
            count = answer.get("totalTasksStarted", 0)
            self.started += count
            if not count:
                self.others.append(answer)
            self._changed.notify_all()

    def send(self, body: Mapping[str, object]) -> int:
        """Publish a request; give the monotonic nanoseconds just before."""
        payload = json.dumps(body)
        now = time.monotonic_ns()
        self._client.publish(START_TOPIC, payload, qos=1, properties=self._properties)
        return now

    def send_bare(self, payload: str) -> int:
        """Publish a payload for the bare client, which sends no reply; as `send`."""
        now = time.monotonic_ns()
        self._client.publish(BARE_TOPIC, payload, qos=1)
        return now

    def burst(self, bodies: Iterable[Mapping[str, object]], *, seconds: float = 300.0) -> float:
        """Publish at once, wait for a reply to each; give the seconds from the first to the last reply."""
        before = self.replies
        prepared = [json.dumps(body) for body in bodies]
        began = time.monotonic()
        for payload in prepared:
            self._client.publish(START_TOPIC, payload, qos=1, properties=self._properties)
        self.wait(before + len(prepared), seconds)
        return self.last_reply - began

    def wait_answered(self, count: int, seconds: float = 60.0) -> None:
        """Wait until `answered`, emptied before, has so many."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.answered) >= count, seconds)
        assert came, f"{len(self.answered)} of {count} replies after {seconds} s"

    def wait(self, replies: int, seconds: float = 60.0) -> None:
        """Wait until so many replies have come in all."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.replies >= replies, seconds)
        assert came, f"{self.replies} of {replies} replies after {seconds} s"


def _no_delay(_client: paho.Client, _userdata: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
