"""Checks the certificates of the connection to the broker: the daemon's files, the broker's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from cryptography import x509

from butler_mqtt.checks import certificate_files
from butler_mqtt.checks.finding import Finding, wrong
from butler_mqtt.mqtt.paho_client import CONNECT_TIMEOUT_SECONDS
from butler_mqtt.settings import MqttSettings

_RENEW_OURS = "have the broker's CA issue a new one for mqttConfig.tls.certFile and keyFile"
_RENEW_BROKER = "renew it at the broker and load it there (mosquitto: certfile and keyfile, then a restart)"
#: Seconds in which a broker that refuses our certificate sends its alert.
HANG_UP_SECONDS = 1.0


def files(mqtt: MqttSettings) -> Iterator[Finding]:
    """Check whether our certificate for the broker is valid now and fits its key."""
    tls = mqtt.tls
    if tls.cert_file is None or tls.key_file is None:
        return
    unreadable = "name a PEM file without a password that the service's user may read"
    yield certificate_files.of_file("broker.clientCert", tls.cert_file, _RENEW_OURS, unreadable)
    yield certificate_files.pair(
        "broker.clientCertKey",
        tls.cert_file,
        tls.key_file,
        unreadable=unreadable,
        mixed="name the key that was made for this certificate",
    )


def server(mqtt: MqttSettings) -> Iterator[Finding]:
    """
    Check whether the broker's certificate is accepted, its names, and how long it is valid.

    Without a handshake it yields nothing: the login reports that.
    """
    name = "broker.certificate"
    try:
        certificate = _shown(mqtt, verified=True)
    except ssl.SSLCertVerificationError as error:
        yield _refused(mqtt, error)
        return
    except ConnectionResetError:
        yield wrong(
            "broker.login",
            f"{mqtt.broker_host}:{mqtt.broker_port} closes the connection when TLS begins",
            "if this port speaks plain MQTT: set mqttConfig.brokerPort to the one with TLS (often 8883), or "
            "tls.enable: false; else see the broker's log",
        )
        return
    except (OSError, ValueError):
        return
    names = ", ".join(certificate_files.names_of(certificate))
    yield certificate_files.judged(name, f"the broker's certificate for {names}", certificate, _RENEW_BROKER)


def refusal(mqtt: MqttSettings) -> str:
    """
    Check whether the broker refuses our certificate, which TLS 1.3 shows only after the handshake.

    Returns:
        Its alert; empty when there is none.
    """
    try:
        with _connected(mqtt, verified=True) as connected:
            connected.settimeout(HANG_UP_SECONDS)
            connected.recv(1)
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower().replace("_", " ")
    except (OSError, ValueError):
        pass
    return ""


def speaks_tls(mqtt: MqttSettings) -> bool:
    """Return whether the port answers a TLS handshake."""
    try:
        with _connected(mqtt, verified=False):
            return True
    except (OSError, ValueError):
        return False


def _refused(mqtt: MqttSettings, error: ssl.SSLCertVerificationError) -> Finding:
    """Return why the broker's certificate is not accepted; it is read, and nothing is sent."""
    name = "broker.certificate"
    text = f"the broker's certificate is not accepted: {error.verify_message}"
    try:
        certificate = _shown(mqtt, verified=False)
    except (OSError, ValueError):
        return wrong(name, f"{text}; it cannot be read", "see mqttConfig.tls.caFile")
    text = f"{text}; it is {certificate_files.described(certificate)}"
    if error.verify_code in certificate_files.OUT_OF_TIME:
        judged = certificate_files.judged(name, "", certificate, _RENEW_BROKER)
        return wrong(
            name, text, judged.advice or f"the CA in {_ca(mqtt)} has expired or is not valid yet: renew it"
        )
    if error.verify_code in certificate_files.OTHER_NAME:
        names = " or ".join(certificate_files.names_of(certificate))
        return wrong(
            name,
            text,
            f"set mqttConfig.brokerHost to {names}, or give the broker a certificate for {mqtt.broker_host}",
        )
    return wrong(
        name, text, f"{_ca(mqtt)} must hold the CA that issued it, if {mqtt.broker_host} is the broker meant"
    )


def _ca(mqtt: MqttSettings) -> str:
    return f"mqttConfig.tls.caFile ({mqtt.tls.ca_file or 'not set: the CAs of this system'})"


def _shown(mqtt: MqttSettings, *, verified: bool) -> x509.Certificate:
    with _connected(mqtt, verified=verified) as connected:
        return certificate_files.shown(connected)


def _connected(mqtt: MqttSettings, *, verified: bool) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=mqtt.tls.ca_file)
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if mqtt.tls.cert_file is not None:
        context.load_cert_chain(mqtt.tls.cert_file, mqtt.tls.key_file, password="")
    return certificate_files.connection(
        context,
        mqtt.broker_host,
        mqtt.broker_port,
        server_name=mqtt.broker_host,
        timeout=CONNECT_TIMEOUT_SECONDS,
    )
