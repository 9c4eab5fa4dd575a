"""
Asks over MQTT 3.1.1 for the tasks with a tag and prints the reply: needs paho-mqtt 2.

    python3 start_mqtt311.py --client-id gateway-7 --request-id gateway-7:2031-01-31 --tag daily-reports

Without Response Topic and Correlation Data the request itself says where the reply goes (`replyTopic`),
and the reply says what it answers (`requestId`). The client id is this sender's for ever, so that the broker
keeps the reply while it is away.
Run it again with the same ids whenever in doubt: the tasks are started once.
It ends with 0 when all was started, 1 when it was not, 75 without a reply in time.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

START = "qliksense/task/start"
#: Refusals after which the id is free and the same request may succeed.
AGAIN = {"qrs_unavailable", "rate_limited"}
NO_REPLY = 75


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Start the Qlik Sense tasks that have a tag.")
    parser.add_argument("--client-id", required=True, help="this sender's own, the same in each run")
    parser.add_argument("--request-id", required=True, help="what it is about, as an order's number")
    parser.add_argument("--tag", required=True)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--seconds", type=float, default=300, help="how long to wait for the reply")
    parser.add_argument("--resend", type=float, default=30, help="seconds after which it is sent again")
    return parser.parse_args()


def connect(
    given: argparse.Namespace, topic: str, subscribed: threading.Event, replies: queue.Queue[dict[str, Any]]
) -> mqtt.Client:
    """Connect, subscribe to *topic*, and put the replies to the request into *replies*."""

    def on_connect(client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _: Any) -> None:
        if reason.is_failure:
            print(f"the broker refuses the connection: {reason}", file=sys.stderr)
        else:
            client.subscribe(topic, qos=1)

    def on_subscribe(_client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _: Any) -> None:
        if reasons[0].is_failure:
            print(f"the broker refuses the subscription to {topic}", file=sys.stderr)
        else:
            subscribed.set()

    def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        reply = json.loads(message.payload)
        # The broker may have kept one to an earlier request.
        if reply.get("requestId") == given.request_id:
            replies.put(reply)

    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=given.client_id, clean_session=False, protocol=mqtt.MQTTv311
    )
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_disconnect = lambda *_: subscribed.clear()
    client.on_message = on_message
    # A broker that cannot be reached yet is tried again, as one that is lost later.
    client.connect_async(given.host, given.port)
    client.loop_start()
    return client


def main() -> int:
    """Send the request until it is answered; return the exit code."""
    given = arguments()
    topic = f"qliksense/reply/{given.client_id}"
    request = {"requestId": given.request_id, "tag": [given.tag], "replyTopic": topic}
    replies: queue.Queue[dict[str, Any]] = queue.Queue()
    subscribed = threading.Event()
    client = connect(given, topic, subscribed, replies)
    deadline = time.monotonic() + given.seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not subscribed.wait(left):
                break
            client.publish(START, json.dumps(request), qos=1)
            try:
                reply = replies.get(timeout=min(left, given.resend))
            except queue.Empty:
                continue  # it may have been lost: the same id, so that it counts once
            if reply.get("code") not in AGAIN:
                print(json.dumps(reply, ensure_ascii=False))
                return 0 if reply.get("status") == "ok" else 1
            print(f"{reply['code']}: {reply['details']}; sent again", file=sys.stderr)
            time.sleep(min(5, given.resend))
    finally:
        client.disconnect()
        client.loop_stop()
    print(f"no reply in {given.seconds:g} s; run it again with the same ids", file=sys.stderr)
    return NO_REPLY


if __name__ == "__main__":
    sys.exit(main())
