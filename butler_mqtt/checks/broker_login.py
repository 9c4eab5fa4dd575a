"""Logs in at the broker as the daemon does, with its will, and reports why a login is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from butler_mqtt.checks import broker_certificates, broker_limits
from butler_mqtt.checks.finding import Finding, ok, unreachable, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt import presence, refusals
from butler_mqtt.mqtt.paho_client import login_name
from butler_mqtt.mqtt.probe import Probe, ProbeRefused, ProbeSilent
from butler_mqtt.settings import MqttSettings, StartTask

#: Reason codes of CONNACK (MQTT 5.0, 3.2.2.2); those of 3.1.1 come as these.
_BAD_CLIENT_ID = 0x85
#: The will's retain flag or QoS are not supported, as CONNACK says without a will too.
_LIMITS = frozenset({0x9A, 0x9B})
_BUSY = frozenset({0x88, 0x89, 0x97, 0x9F})
_BOTH = (
    "mqttConfig.username with password or passwordFile must be in the broker's password file "
    "(mosquitto: mosquitto_passwd FILE USER, then SIGHUP)"
)
_SEE = (
    "check that an MQTT broker listens at mqttConfig.brokerHost and brokerPort with this transport, and "
    "see its log"
)
_WAIT = "the broker is overloaded or starting: see its log, and run this again"


def check(mqtt: MqttSettings, start_task: StartTask, client_id: str) -> Iterator[Finding]:
    """Log in as the daemon does, with another client id, and check what is granted."""
    place = f"{mqtt.broker_host}:{mqtt.broker_port}"
    who = f"user {mqtt.username}" if mqtt.username else "a client without a user name"
    granted = ok("broker.login", f"{place} accepts {who}, MQTT {mqtt.protocol_version}")
    try:
        try:
            yield from _granted(granted, mqtt, start_task, client_id, _will(mqtt, client_id))
        except ProbeRefused as error:
            if error.code not in _LIMITS:
                raise
            # What is granted without the will says so, and the daemon copes with what it can.
            yield from _granted(granted, mqtt, start_task, client_id, None)
    except ProbeRefused as error:
        yield _refused(mqtt, f"{place} refuses {who}", error)
    except ProbeSilent as error:
        advice = _plain_advice(mqtt)
        yield (wrong if advice else unreachable)("broker.login", str(error), advice or _SEE)
    except BrokerError as error:
        yield unreachable(
            "broker.login",
            str(error),
            "check mqttConfig.brokerHost and brokerPort, that the broker runs, and the firewall between",
        )


def _granted(
    granted: Finding,
    mqtt: MqttSettings,
    start_task: StartTask,
    client_id: str,
    will: tuple[str, bytes] | None,
) -> Iterator[Finding]:
    # The broker states its limits for a session only when one is requested.
    is_v5 = mqtt.protocol_version == "5"
    with Probe(mqtt, f"{client_id}-login", keep_session=is_v5, only_ask=True, will=will) as probe:
        yield granted
        if is_v5:
            yield from broker_limits.check(probe.limits, mqtt, start_task)
        yield _daemon(probe, mqtt)


def _will(mqtt: MqttSettings, client_id: str) -> tuple[str, bytes]:
    """
    Return a will as the daemon has it.

    Should it be published, because this process is killed, a daemon that runs
    replaces it: a foreign one that says `offline`.
    """
    status = presence.Status("offline", client_id, datetime.now(UTC), "")
    return mqtt.status_topic, status.payload()


def _refused(mqtt: MqttSettings, text: str, error: ProbeRefused) -> Finding:
    """Return why a login was refused, after a second one without the will."""
    name = "broker.login"
    # Some brokers close the connection instead, without a reason.
    maybe_will = error.code in refusals.WILL or (error.code is None and not error.advice)
    is_v5 = mqtt.protocol_version == "5"
    if not (maybe_will and _accepts(mqtt, keep_session=is_v5)):
        tried = ", with the will and without" if error.code in refusals.WILL else ""
        return wrong(name, f"{text}{tried}: {error.reason}", _advice(mqtt, error))
    return wrong(
        name,
        f"{text} because of the will, without which it accepts: {error.reason}",
        f"let {login_name(mqtt)} publish retained messages to {mqtt.status_topic} in the broker's ACL: "
        "there the broker publishes for a daemon that vanishes that it is offline",
    )


def _advice(mqtt: MqttSettings, error: ProbeRefused) -> str:
    """Return what to do about a login that was refused."""
    if error.advice:
        return _version_advice(mqtt) or error.advice
    if error.code in refusals.LOGIN and mqtt.username is None:
        return "this broker requires a user: set mqttConfig.username and passwordFile, and add the user there"
    advices = dict.fromkeys(refusals.LOGIN, _BOTH) | dict.fromkeys(_BUSY, _WAIT)
    advices[_BAD_CLIENT_ID] = (
        f"allow client ids that begin with {mqtt.client_id} there, or set another mqttConfig.clientId"
    )
    if error.code in advices:
        return advices[error.code]
    advice = _tls_advice(mqtt) if mqtt.tls.enable else _plain_advice(mqtt)
    return advice or refusals.advice(error.code or 0, mqtt, None) or _SEE


def _plain_advice(mqtt: MqttSettings) -> str:
    """Detect TLS or another version on the port and return what to set; empty when it is neither."""
    if not mqtt.tls.enable and broker_certificates.speaks_tls(mqtt):
        return f"port {mqtt.broker_port} speaks TLS: set mqttConfig.tls.enable: true and tls.caFile"
    return _version_advice(mqtt)


def _version_advice(mqtt: MqttSettings) -> str:
    """Try the version that is not configured and return what to set; empty when it is refused too."""
    other = refusals.other_version(mqtt)
    if not _accepts(replace(mqtt, protocol_version=other)):
        return ""
    return f"this broker speaks MQTT {other} only: set mqttConfig.protocolVersion: {other}"


def _tls_advice(mqtt: MqttSettings) -> str:
    alert = broker_certificates.refusal(mqtt)
    if alert and mqtt.tls.cert_file is None:
        return (
            f"the broker sends '{alert}': set mqttConfig.tls.certFile and keyFile, a certificate for clients"
        )
    if alert:
        return (
            f"the broker sends '{alert}': mqttConfig.tls.certFile ({mqtt.tls.cert_file}) must be valid and "
            "issued by a CA that the broker knows (mosquitto: cafile)"
        )
    return _version_advice(mqtt) or (
        "see the broker's log: it accepts the TLS connection and then refuses the login"
    )


def _accepts(mqtt: MqttSettings, *, keep_session: bool = False) -> bool:
    client_id = f"{mqtt.client_id}-check-{secrets.token_hex(4)}"
    try:
        with Probe(mqtt, client_id, keep_session=keep_session, only_ask=True):
            return True
    except BrokerError:
        return False


def _daemon(probe: Probe, mqtt: MqttSettings) -> Finding:
    payload = probe.retained(mqtt.status_topic)
    shown = presence.parse(payload) if payload else None
    if shown is not None and shown.status == "online":
        return ok("broker.daemon", f"a daemon is online (started {shown.started_at:%Y-%m-%d %H:%M:%S} UTC)")
    return ok("broker.daemon", f"no daemon is online at {mqtt.status_topic}")
