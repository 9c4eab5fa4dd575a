"""Checks the broker: login, subscription, a message for a session that is not connected, a reply."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace

from butler_mqtt.checks import broker_certificates, broker_limits, broker_login, rule_topics
from butler_mqtt.checks.finding import Finding, State, ok, warning, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.probe import SESSION_SECONDS, Probe, ProbeRefused
from butler_mqtt.settings import MqttSettings, RuleSettings, StartTask

#: Without these no login can succeed.
_NEEDED_TO_LOG_IN = frozenset({"broker.certificate", "broker.login"})


def check(mqtt: MqttSettings, start_task: StartTask, rules: Sequence[RuleSettings] = ()) -> Iterator[Finding]:
    """Check everything the daemon does with the broker, on sessions of its own that are removed again."""
    if mqtt.tls.enable:
        yield from broker_certificates.files(mqtt)
        for finding in broker_certificates.server(mqtt):
            yield finding
            if finding.name in _NEEDED_TO_LOG_IN and finding.state is State.WRONG:
                return
    # The daemon's session is not touched; a probe's session that is left over soon expires.
    probing = replace(mqtt, session_expiry_seconds=min(SESSION_SECONDS, mqtt.session_expiry_seconds))
    client_id = f"{mqtt.client_id}-check-{secrets.token_hex(4)}"
    is_small = False
    for finding in broker_login.check(mqtt, start_task, client_id):
        yield finding
        if finding.name == "broker.login" and finding.state is not State.OK:
            return
        is_small = is_small or (finding.name == "broker.packetSize" and finding.state is not State.OK)
    for topic in mqtt.start_topics:
        yield _subscription(probing, topic, client_id)
    yield from rule_topics.check(probing, rules, client_id)
    kept = _kept(probing, client_id)
    yield kept
    if kept.state is State.OK and not is_small:
        yield broker_limits.large(probing, start_task, client_id)
    yield _reply(probing, client_id)


def _subscription(mqtt: MqttSettings, topic: str, client_id: str) -> Finding:
    try:
        with Probe(mqtt, f"{client_id}-subscribe", keep_session=False) as probe:
            probe.subscribe(topic)
    except BrokerError as error:
        return wrong(
            "broker.subscription",
            f"subscribing to {topic} at QoS 1 is answered with: {error}",
            f"let the daemon's user read {topic} in the broker's ACL",
        )
    return ok(
        "broker.subscription",
        f"{topic} is granted at QoS 1; butler-mqtt start --dry-run shows that requests arrive",
    )


def _kept(mqtt: MqttSettings, client_id: str) -> Finding:
    """Publish while a session is not connected, and check whether the message arrives afterwards."""
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
            _remove_session(mqtt, absent)
    except BrokerError as error:
        return wrong(
            "broker.persistence",
            f"a test on {topic} failed: {error}",
            f"let the daemon's user read and write {topic} in the broker's ACL",
        )
    if arrived:
        return ok(
            "broker.persistence", "a message published while a session was not connected arrived afterwards"
        )
    if not present:
        return wrong(
            "broker.persistence",
            "the broker has dropped the session",
            "allow persistent sessions (mosquitto: persistent_client_expiration), or requests are lost",
        )
    return wrong(
        "broker.persistence",
        f"the session was kept, but a message published on {topic} in between did not arrive",
        f"let the daemon's user read and write {topic}; see the broker's limits for queued messages",
    )


def _reply(mqtt: MqttSettings, client_id: str) -> Finding:
    topic, payload = mqtt.task_start_reply_topic, _payload()
    try:
        with Probe(mqtt, f"{client_id}-reply", keep_session=False) as probe:
            readable = _readable(probe, topic)
            probe.publish(topic, payload)
            received = readable and probe.hears(payload, 2.0)
    except BrokerError as error:
        return wrong(
            "broker.reply",
            f"publishing on {topic} is answered with: {error}",
            f"let the daemon's user write {topic} and what is below it in the broker's ACL",
        )
    if received:
        return ok("broker.reply", f"a message published on {topic} can be read back")
    # Over MQTT 5 the broker has not refused it; a PUBACK of 3.1.1 cannot refuse.
    objection: str | None = ""
    if mqtt.protocol_version != "5":
        objection = _objection(mqtt, f"{client_id}-reply5")
    if objection:
        return wrong(
            "broker.reply",
            f"the broker silently drops what is published on {topic}; over MQTT 5 its reason is: {objection}",
            f"let the daemon's user write {topic} and what is below it in the broker's ACL",
        )
    if objection is None:
        return warning(
            "broker.reply",
            f"the broker accepted a message for {topic}, which could not be read back",
            "either this user may not read it, which does no harm, or may not write it and the broker drops "
            "it silently: check the ACL, or subscribe there as a sender and run this again",
        )
    return warning(
        "broker.reply",
        f"the broker accepted a message for {topic}; this user may not read it back",
        "nothing, if senders get their replies; to see whether the broker silently drops what its ACL "
        f"forbids, let the daemon's user read {topic}",
    )


def _objection(mqtt: MqttSettings, client_id: str) -> str | None:
    """Publish over MQTT 5 and return the reason of a refusal: empty without one, None without MQTT 5."""
    topic = mqtt.task_start_reply_topic
    try:
        with Probe(replace(mqtt, protocol_version="5"), client_id, keep_session=False) as probe:
            try:
                probe.publish(topic, _payload())
            except ProbeRefused as error:
                return error.reason if error.code is not None else None
            return ""
    except BrokerError:
        return None


def _readable(probe: Probe, topic: str) -> bool:
    try:
        probe.subscribe(topic)
    except ProbeRefused:
        return False
    return True


def _remove_session(mqtt: MqttSettings, client_id: str) -> None:
    """Connect with a clean start, which removes the session."""
    with Probe(mqtt, client_id, keep_session=False):
        pass


def _payload() -> bytes:
    return json.dumps({"check": secrets.token_hex(8)}).encode()
