"""A sender as other systems are: publishes requests with paho and waits for the replies."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.acceptance import reply_shape
from tests.brokers import until

START = "qliksense/task/start"
REPLY = "qliksense/task/start/reply"
EVENTS = "qliksense/task/event"
STATUS = "qliksense/butler/status"

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Got:
    """One message that came from the broker."""

    topic: str
    payload: bytes
    retain: bool
    qos: int
    correlation: bytes | None
    user_properties: tuple[tuple[str, str], ...]

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Sender:
    """
    One connection that publishes at QoS 1 and hears all of `qliksense/#`; a context manager.

    Args:
        port: The broker's.
        version: "5" or "3.1.1".
        client_id: With one, the broker keeps a session, so that no reply is missed while it is down.
        connect: Further things to do with the paho client before it connects.
    """

    def __init__(
        self,
        port: int,
        version: str = "5",
        *,
        client_id: str = "",
        connect: Callable[[paho.Client], None] = lambda _: None,
    ) -> None:
        self.version = version
        self._port = port
        self._messages: list[Got] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        five = version == "5"
        options: dict[str, Any] = {} if five else {"clean_session": not client_id}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=True,
            **options,
        )
        self._options: dict[str, Any] = {"clean_start": not client_id} if five else {}
        if five and client_id:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped
            properties.SessionExpiryInterval = 3600
            self._options["properties"] = properties
        self._client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type] # fractions work as well
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe([("qliksense/#", 1)])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        connect(self._client)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port, **self._options)
        self._client.loop_start()
        assert self._subscribed.wait(60), "the sender could not subscribe"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # A client in a reference cycle would be found by the collector with its sockets open.
        self._client.on_message = self._client.on_connect = self._client.on_subscribe = None

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        properties = message.properties
        got = Got(
            message.topic,
            bytes(message.payload),
            bool(message.retain),
            message.qos,
            getattr(properties, "CorrelationData", None),
            tuple(getattr(properties, "UserProperty", ())),
        )
        with self._changed:
            self._messages.append(got)
            self._changed.notify_all()

    # ---- publishing

    def publish(
        self,
        payload: bytes | str | Mapping[str, object],
        *,
        topic: str = START,
        qos: int = 1,
        retain: bool = False,
        wait: bool = True,
        **properties: Any,
    ) -> None:
        """Publish and wait until the broker has it; *properties* are MQTT 5's, in paho's spelling."""
        body = json.dumps(payload) if isinstance(payload, Mapping) else payload
        made = None
        if properties:
            made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
            for name, value in properties.items():
                setattr(made, name, value)
        if wait:
            # It connects again by itself, perhaps later than the daemon.
            until(self._client.is_connected, what="the sender is connected")
        sent = self._client.publish(topic, body, qos=qos, retain=retain, properties=made)
        if wait:
            sent.wait_for_publish(60)
            assert sent.is_published(), "the broker did not take the request"

    def send(self, body: bytes | str | Mapping[str, object], **properties: Any) -> str:
        """Publish a request with a reply topic of its own and give that (3.1.1: for JSON objects only)."""
        topic = new_reply_topic()
        if self.version == "5":
            self.publish(body, ResponseTopic=topic, **properties)
        elif isinstance(body, Mapping):
            self.publish({**body, "replyTopic": topic})
        else:
            raise AssertionError("a 3.1.1 sender can name a reply topic in JSON objects only")
        return topic

    def ask(
        self, body: bytes | str | Mapping[str, object], *, seconds: float = 60.0, **properties: Any
    ) -> dict[str, Any]:
        """Publish a request and wait for its reply, whose shape is checked."""
        return self.answer(self.send(body, **properties), seconds=seconds)

    # ---- hearing

    def answer(self, topic: str, *, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for the reply on *topic*, check its shape and give it."""
        answer: dict[str, Any] = self.wait(lambda got: got.topic == topic, seconds=seconds, what=topic).json
        reply_shape.check(answer)
        return answer

    def wait(self, wanted: Callable[[Got], bool], *, seconds: float = 60.0, what: str = "") -> Got:
        """Wait for a message; those that came before count."""
        return self.wait_for(1, wanted, seconds=seconds, what=what)[0]

    def wait_for(
        self, count: int, wanted: Callable[[Got], bool], *, seconds: float = 60.0, what: str = ""
    ) -> list[Got]:
        """Wait until so many messages are there and give them all."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(found := [got for got in self._messages if wanted(got)]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} messages after {seconds} s: {what}"
                self._changed.wait(left)
        return found

    def heard(self, topic: str) -> list[Got]:
        """Give the messages of *topic* so far."""
        with self._changed:
            return [got for got in self._messages if got.topic == topic]

    def all(self) -> list[Got]:
        """Give all messages so far."""
        with self._changed:
            return list(self._messages)

    def drain(self) -> None:
        """Wait for the reply to one more request: what was answered before has arrived then."""
        self.ask({"tag": f"nobody-has-this-{uuid.uuid4()}", "dryRun": True})


def new_reply_topic() -> str:
    """Make a reply topic that nobody used."""
    return f"qliksense/test/{next(_numbers)}-{uuid.uuid4().hex[:8]}"
