"""Tries the broker: login, subscription, a message while we are away, a reply."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace

from butler_mqtt.checks.finding import Finding, ok, unreached, warning, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt import status
from butler_mqtt.mqtt.probing import SESSION_SECONDS, Probe, Refused
from butler_mqtt.settings import Mqtt

#: Below this the broker forgets what arrives while the daemon is restarted over a weekend, seconds.
SHORT_SESSION_SECONDS = 86400


def check(mqtt: Mqtt) -> Iterator[Finding]:
    """Try everything the daemon does with the broker, on sessions of its own that are removed again."""
    place = f"{mqtt.broker_host}:{mqtt.broker_port}"
    who = f"user {mqtt.username}" if mqtt.username else "a client without a name"
    # The daemon's session is not touched, and one of ours that is left over soon ends by itself.
    probing = replace(mqtt, session_expiry_seconds=min(SESSION_SECONDS, mqtt.session_expiry_seconds))
    client_id = f"{mqtt.client_id}-check-{secrets.token_hex(4)}"
    try:
        with Probe(mqtt, f"{client_id}-login", keep_session=False) as probe:
            yield ok("broker.login", f"{place} lets {who} in, MQTT {mqtt.protocol_version}")
            yield from _limits(probe, mqtt)
            yield _daemon(probe, mqtt)
    except Refused as error:
        yield wrong(
            "broker.login",
            f"{place} does not let {who} in: {error.reason}",
            "check mqttConfig.username, its password and tls, and the broker's password file",
        )
        return
    except BrokerError as error:
        yield unreached(
            "broker.login",
            str(error),
            "check mqttConfig.brokerHost and brokerPort, that the broker runs, and the firewall between",
        )
        return
    yield _subscription(probing, client_id)
    yield _kept(probing, client_id)
    yield _reply(probing, client_id)


def _limits(probe: Probe, mqtt: Mqtt) -> Iterator[Finding]:
    limits = probe.limits
    if limits.maximum_qos == 0:
        yield wrong(
            "broker.qos", "the broker takes QoS 0 only", "requests and replies need QoS 1: allow it there"
        )
    if not limits.retain_available:
        yield warning(
            "broker.retain",
            "the broker keeps no retained messages",
            f"nobody can read at {mqtt.status_topic} later whether the daemon is online",
        )
    granted = limits.session_expiry_seconds
    if granted is not None and granted < SHORT_SESSION_SECONDS:
        yield warning(
            "broker.session",
            f"the broker keeps sessions for {granted} s only",
            "raise its session expiry, or requests published while the daemon is away longer are lost",
        )


def _daemon(probe: Probe, mqtt: Mqtt) -> Finding:
    payload = probe.retained(mqtt.status_topic)
    shown = status.parse(payload) if payload else None
    if shown is not None and shown.status == "online":
        return ok("broker.daemon", f"a daemon is online (started {shown.started_at:%Y-%m-%d %H:%M:%S} UTC)")
    return ok("broker.daemon", f"no daemon is online at {mqtt.status_topic}")


def _subscription(mqtt: Mqtt, client_id: str) -> Finding:
    topic = mqtt.task_start_topic
    try:
        with Probe(mqtt, f"{client_id}-subscribe", keep_session=False) as probe:
            probe.subscribe(topic)
    except BrokerError as error:
        return wrong(
            "broker.subscription",
            f"subscribing to {topic} at QoS 1 is answered with: {error}",
            f"let the daemon's user read {topic} in the broker's ACL",
        )
    return ok("broker.subscription", f"{topic} is granted at QoS 1")


def _kept(mqtt: Mqtt, client_id: str) -> Finding:
    """Publish while a session is detached, and see whether it is there afterwards."""
    topic, payload = mqtt.status_topic, _payload()
    absent = f"{client_id}-absent"
    try:
        try:
            with Probe(mqtt, absent, keep_session=True) as probe:
                probe.subscribe(topic)
            with Probe(mqtt, f"{client_id}-sender", keep_session=False) as probe:
                probe.publish(topic, payload)
            with Probe(mqtt, absent, keep_session=True) as probe:
                present = probe.session_present
                arrived = present and probe.hears(payload)
        finally:
            _forget(mqtt, absent)
    except BrokerError as error:
        return wrong(
            "broker.persistence",
            f"trying it on {topic} failed: {error}",
            f"let the daemon's user read and write {topic} in the broker's ACL",
        )
    if arrived:
        return ok("broker.persistence", "a message published while a session was away arrived afterwards")
    if not present:
        return wrong(
            "broker.persistence",
            "the broker had forgotten the session",
            "allow persistent sessions (mosquitto: persistent_client_expiration), or requests are lost",
        )
    return wrong(
        "broker.persistence",
        f"the session was kept, and a message published on {topic} meanwhile did not arrive",
        f"let the daemon's user read and write {topic}; see the broker's limits for queued messages",
    )


def _reply(mqtt: Mqtt, client_id: str) -> Finding:
    topic, payload = mqtt.task_start_reply_topic, _payload()
    try:
        with Probe(mqtt, f"{client_id}-reply", keep_session=False) as probe:
            readable = _readable(probe, topic)
            probe.publish(topic, payload)
            heard = readable and probe.hears(payload, 2.0)
    except BrokerError as error:
        return wrong(
            "broker.reply",
            f"publishing on {topic} is answered with: {error}",
            f"let the daemon's user write {topic} and what is below it in the broker's ACL",
        )
    if heard:
        return ok("broker.reply", f"a message published on {topic} can be read back")
    return warning(
        "broker.reply",
        f"the broker took a message for {topic}, which could not be read back",
        "either this user may not read it, which does no harm, or may not write it and the broker drops it "
        "silently: look at the ACL, or subscribe there as a sender and run this again",
    )


def _readable(probe: Probe, topic: str) -> bool:
    try:
        probe.subscribe(topic)
    except Refused:
        return False
    return True


def _forget(mqtt: Mqtt, client_id: str) -> None:
    """Connect with a clean start, which removes the session."""
    with Probe(mqtt, client_id, keep_session=False):
        pass


def _payload() -> bytes:
    return json.dumps({"check": secrets.token_hex(8)}).encode()
