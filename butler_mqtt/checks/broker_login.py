"""Logs in at the broker, and reports why a login is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

from butler_mqtt.checks import broker_certificates, broker_limits
from butler_mqtt.checks.finding import Finding, ok, unreachable, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt import status
from butler_mqtt.mqtt.probe import Probe, ProbeRefused, ProbeSilent
from butler_mqtt.settings import MqttSettings, StartTask

#: Reason codes of CONNACK (MQTT 5.0, 3.2.2.2); those of 3.1.1 come as these.
_BAD_CLIENT_ID = 0x85
_BAD_USER = frozenset({0x86, 0x87, 0x8C})
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
    # The broker states its limits for a session only when one is requested.
    is_v5 = mqtt.protocol_version == "5"
    try:
        with Probe(mqtt, f"{client_id}-login", keep_session=is_v5, only_ask=True) as probe:
            yield ok("broker.login", f"{place} accepts {who}, MQTT {mqtt.protocol_version}")
            if is_v5:
                yield from broker_limits.check(probe.limits, mqtt, start_task)
            yield _daemon(probe, mqtt)
    except ProbeRefused as error:
        yield wrong("broker.login", f"{place} refuses {who}: {error.reason}", _advice(mqtt, error))
    except ProbeSilent as error:
        advice = _plain_advice(mqtt)
        yield (wrong if advice else unreachable)("broker.login", str(error), advice or _SEE)
    except BrokerError as error:
        yield unreachable(
            "broker.login",
            str(error),
            "check mqttConfig.brokerHost and brokerPort, that the broker runs, and the firewall between",
        )


def _advice(mqtt: MqttSettings, error: ProbeRefused) -> str:
    """Return what to do about a login that was refused."""
    if error.code in _BAD_USER and mqtt.username is None:
        return "this broker requires a user: set mqttConfig.username and passwordFile, and add the user there"
    advices = dict.fromkeys(_BAD_USER, _BOTH) | dict.fromkeys(_BUSY, _WAIT)
    advices[_BAD_CLIENT_ID] = (
        f"allow client ids that begin with {mqtt.client_id} there, or set another mqttConfig.clientId"
    )
    if error.code in advices:
        return advices[error.code]
    return _tls_advice(mqtt) if mqtt.tls.enable else _plain_advice(mqtt) or _SEE


def _plain_advice(mqtt: MqttSettings) -> str:
    """Detect TLS or MQTT 3.1.1 on the port and return what to set; empty when it is neither."""
    if not mqtt.tls.enable and broker_certificates.speaks_tls(mqtt):
        return f"port {mqtt.broker_port} speaks TLS: set mqttConfig.tls.enable: true and tls.caFile"
    if mqtt.protocol_version == "5" and _accepts(replace(mqtt, protocol_version="3.1.1")):
        return "this broker speaks MQTT 3.1.1 only: set mqttConfig.protocolVersion: 3.1.1"
    return ""


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
    return "see the broker's log: it accepts the TLS connection and then refuses the login"


def _accepts(mqtt: MqttSettings) -> bool:
    try:
        with Probe(mqtt, f"{mqtt.client_id}-check-{secrets.token_hex(4)}", keep_session=False):
            return True
    except BrokerError:
        return False


def _daemon(probe: Probe, mqtt: MqttSettings) -> Finding:
    payload = probe.retained(mqtt.status_topic)
    shown = status.parse(payload) if payload else None
    if shown is not None and shown.status == "online":
        return ok("broker.daemon", f"a daemon is online (started {shown.started_at:%Y-%m-%d %H:%M:%S} UTC)")
    return ok("broker.daemon", f"no daemon is online at {mqtt.status_topic}")
