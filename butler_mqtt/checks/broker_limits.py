"""Compares what the broker grants with what the daemon needs: CONNACK of MQTT 5, and a large message."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.paho_client import BrokerLimits
from butler_mqtt.mqtt.probe import Probe
from butler_mqtt.mqtt.publisher import WINDOW
from butler_mqtt.settings import MqttSettings, StartTask

#: With fewer messages in flight, replies and events wait for each other.
FEW_MESSAGES = 10
#: What one task takes in a reply: two ids, the keys and a name of some 100 characters, bytes.
TASK_BYTES = 320
#: Topic, correlation data and other properties around a payload, bytes: more than any of ours has.
AROUND_BYTES = 1024


def largest_reply(start_task: StartTask) -> int:
    """Estimate the payload of a reply about as many tasks as one request may start, in bytes."""
    return TASK_BYTES * start_task.max_tasks_per_request


def check(limits: BrokerLimits, mqtt: MqttSettings, start_task: StartTask) -> Iterator[Finding]:
    """Check the CONNACK to a CONNECT with the daemon's own properties; MQTT 5 only."""
    if limits.maximum_qos == 0:
        yield wrong(
            "broker.qos",
            "the broker accepts QoS 0 only",
            "requests and replies need QoS 1: allow it there (mosquitto: max_qos)",
        )
    yield _retain(limits, mqtt)
    yield _session(limits, mqtt)
    yield _receive_maximum(limits)
    yield _packet_size(limits, mqtt, start_task)


def _retain(limits: BrokerLimits, mqtt: MqttSettings) -> Finding:
    if limits.retain_available:
        return ok("broker.retain", "retained messages are kept")
    return warning(
        "broker.retain",
        "the broker keeps no retained messages",
        f"a later reader of {mqtt.status_topic} does not see whether the daemon is online: allow them there "
        "(mosquitto: retain_available)",
    )


def _session(limits: BrokerLimits, mqtt: MqttSettings) -> Finding:
    asked = mqtt.session_expiry_seconds
    granted = asked if limits.session_expiry_seconds is None else limits.session_expiry_seconds
    if granted >= asked:
        return ok(
            "broker.session",
            f"a session is kept for {asked} s ({_span(asked)}) unconnected, as requested",
        )
    return warning(
        "broker.session",
        f"the broker keeps a session for {granted} s ({_span(granted)}) unconnected, not the "
        f"{asked} s of mqttConfig.sessionExpirySeconds",
        "what is published while the daemon is not connected for longer is lost: raise the broker's limit of "
        "the session expiry",
    )


def _receive_maximum(limits: BrokerLimits) -> Finding:
    many = limits.receive_maximum
    used = min(many, WINDOW)
    if many >= FEW_MESSAGES:
        return ok("broker.receiveMaximum", f"up to {used} replies and events may be in flight")
    return warning(
        "broker.receiveMaximum",
        f"the broker accepts only {many} messages before it has acknowledged one (Receive Maximum)",
        f"replies and events wait for each other: at 20 ms to the broker at most {many * 50} of them go out "
        "a second; raise it there (mosquitto: max_inflight_messages)",
    )


def _packet_size(limits: BrokerLimits, mqtt: MqttSettings, start_task: StartTask) -> Finding:
    size = limits.maximum_packet_size
    if size is None:
        return ok("broker.packetSize", "the broker states no Maximum Packet Size")
    needs = {
        "requests (mqttConfig.maxPayloadBytes)": mqtt.max_payload_bytes + AROUND_BYTES,
        "replies (startTask.maxTasksPerRequest)": largest_reply(start_task) + AROUND_BYTES,
    }
    lacking = {what: need for what, need in needs.items() if need > size}
    if not lacking:
        return ok("broker.packetSize", f"the broker accepts packets of up to {size} bytes, which is enough")
    return warning(
        "broker.packetSize",
        f"the broker accepts packets of up to {size} bytes (Maximum Packet Size), too little for "
        + " and ".join(f"{what} of up to {need} bytes" for what, need in lacking.items()),
        f"senders of longer requests are disconnected, longer replies are not sent: raise it there to "
        f"{max(lacking.values())} (mosquitto: max_packet_size), or lower these keys",
    )


def large(mqtt: MqttSettings, start_task: StartTask, client_id: str) -> Finding:
    """
    Publish as much as a request or a reply may hold, and check whether it arrives.

    Brokers have limits that are in no CONNACK (mosquitto: message_size_limit). The
    topic is `statusTopic`, which the daemon's user may write and read in any case.
    """
    name = "broker.messageSize"
    size = max(mqtt.max_payload_bytes, largest_reply(start_task))
    payload = json.dumps({"check": secrets.token_hex(8), "padding": ""}).encode()
    payload = payload[:-2] + b"x" * (size - len(payload)) + payload[-2:]
    advice = (
        "raise the broker's limit (mosquitto: message_size_limit, max_packet_size), or lower "
        "mqttConfig.maxPayloadBytes and startTask.maxTasksPerRequest"
    )
    try:
        with Probe(mqtt, f"{client_id}-large", keep_session=False) as probe:
            probe.subscribe(mqtt.status_topic)
            probe.publish(mqtt.status_topic, payload)
            received = probe.hears(payload)
    except BrokerError as error:
        return warning(name, f"a message of {size} bytes is answered with: {error}", advice)
    if received:
        return ok(name, f"a message of {size} bytes, the largest that can be needed, arrives")
    return warning(name, f"a message of {size} bytes was accepted and did not arrive", advice)


def _span(seconds: int) -> str:
    """Return a duration in days, hours, minutes or seconds."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds} s" if seconds else "not kept"
