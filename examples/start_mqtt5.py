"""
Asks over MQTT 5 for the tasks with a tag and prints the reply: needs paho-mqtt 2.

    python3 start_mqtt5.py --request-id erp-4711 --tag daily-reports --host broker.example.com

Run it again with the same --request-id whenever in doubt: the tasks are started once.
It ends with 0 when all was started, 1 when it was not, 75 without a reply in time.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
import uuid
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

START = "qliksense/task/start"
#: Refusals after which the id is free and the same request may succeed.
AGAIN = {"qrs_unavailable", "rate_limited"}
NO_REPLY = 75


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Start the Qlik Sense tasks that have a tag.")
    parser.add_argument("--request-id", required=True, help="what it is about, as an order's number")
    parser.add_argument("--tag", required=True)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--ca", help="PEM file of the authority that signed the broker's certificate")
    parser.add_argument("--user", help="the password is taken from $MQTT_PASSWORD")
    parser.add_argument("--seconds", type=float, default=300, help="how long to wait for the reply")
    parser.add_argument("--resend", type=float, default=30, help="seconds after which it is sent again")
    return parser.parse_args()


class Sender:
    """A connection that sends one request and hears its replies on a topic of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.subscribed = threading.Event()
        self._topic = f"qliksense/reply/{uuid.uuid4()}"
        self._correlation = uuid.uuid4().bytes
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = lambda *_: self.subscribed.clear()
        self.client.on_message = self._on_message
        if given.ca:
            self.client.tls_set(given.ca)
        if given.user:
            self.client.username_pw_set(given.user, os.environ["MQTT_PASSWORD"])
        # A broker that cannot be reached yet is tried again, as one that is lost later.
        self.client.connect_async(given.host, given.port)
        self.client.loop_start()

    def send(self, request: dict[str, Any]) -> None:
        """Publish the request, to be answered here."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = self._topic
        properties.CorrelationData = self._correlation
        self.client.publish(START, json.dumps(request), qos=1, properties=properties)

    def close(self) -> None:
        """End the connection."""
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _: Any) -> None:
        if reason.is_failure:
            print(f"the broker refuses the connection: {reason}", file=sys.stderr)
        else:
            # Before the request: a reply that nobody has subscribed to is lost.
            client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _: Any) -> None:
        if reasons[0].is_failure:
            print(f"the broker refuses the subscription to {self._topic}: {reasons[0]}", file=sys.stderr)
        else:
            self.subscribed.set()

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if getattr(message.properties, "CorrelationData", None) == self._correlation:
            self.replies.put(json.loads(message.payload))


def main() -> int:
    """Send the request until it is answered; return the exit code."""
    given = arguments()
    request = {"requestId": given.request_id, "tag": [given.tag]}
    deadline = time.monotonic() + given.seconds
    sender = Sender(given)
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not sender.subscribed.wait(left):
                break
            sender.send(request)
            try:
                reply = sender.replies.get(timeout=min(left, given.resend))
            except queue.Empty:
                continue  # it may have been lost: the same id, so that it counts once
            if reply.get("code") not in AGAIN:
                print(json.dumps(reply, ensure_ascii=False))
                return 0 if reply.get("status") == "ok" else 1
            print(f"{reply['code']}: {reply['details']}; sent again", file=sys.stderr)
            time.sleep(min(5, given.resend))
    finally:
        sender.close()
    print(f"no reply in {given.seconds:g} s; run it again with the same --request-id", file=sys.stderr)
    return NO_REPLY


if __name__ == "__main__":
    sys.exit(main())
