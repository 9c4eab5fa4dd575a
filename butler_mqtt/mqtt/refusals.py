"""Why a broker does not accept a connection, and what to change, for people."""

from __future__ import annotations

from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.mqtt.paho_client import login_name, named

UNSUPPORTED_VERSION = 0x84
NOT_AUTHORIZED = 0x87
#: Bad user name or password, not authorized, bad authentication method (MQTT 5.0, 3.2.2.2).
LOGIN = frozenset({0x86, NOT_AUTHORIZED, 0x8C})
#: Reasons that the will may give besides the login (MQTT 5.0, 3.2.2.2): unspecified, implementation
#: specific, not authorized, topic name invalid, payload format invalid, retain or QoS not supported.
WILL = frozenset({0x80, 0x83, NOT_AUTHORIZED, 0x90, 0x99, 0x9A, 0x9B})


def other_version(mqtt: settings.MqttSettings) -> str:
    """Return the version of MQTT that is not configured."""
    return "3.1.1" if mqtt.protocol_version == "5" else "5"


def advice(code: int, mqtt: settings.MqttSettings, will_topic: str | None) -> str:
    """
    Return what to change about a CONNACK with reason *code*; empty where there is nothing.

    Args:
        code: Of MQTT 5, or what the client library makes of a return code of 3.1.1.
        mqtt: The settings that were used.
        will_topic: Of the will that the CONNECT had; None without one.
    """
    if code == UNSUPPORTED_VERSION:
        return f"set mqttConfig.protocolVersion: {other_version(mqtt)}"
    causes = ["check mqttConfig.username and its password"] if code in LOGIN else []
    if will_topic is not None and code in WILL:
        causes.append(f"let {login_name(mqtt)} publish to {will_topic}, the topic of the will")
    return ", and ".join(causes) + ("; butler-mqtt check shows which it is" if len(causes) > 1 else "")


def explained(reason: ReasonCode, mqtt: settings.MqttSettings, will_topic: str | None) -> str:
    """Name the reason of a CONNACK, with `advice`."""
    return "; ".join(part for part in (named(reason), advice(reason.value, mqtt, will_topic)) if part)


def unanswered(mqtt: settings.MqttSettings) -> str:
    """Explain a broker that says nothing to CONNECT, or closes the connection."""
    version = f"MQTT {mqtt.protocol_version}{' with TLS' if mqtt.tls.enable else ''}"
    return (
        f"does it speak {version} on this port? For a broker that speaks MQTT {other_version(mqtt)} only set "
        f"mqttConfig.protocolVersion: {other_version(mqtt)}"
    )
