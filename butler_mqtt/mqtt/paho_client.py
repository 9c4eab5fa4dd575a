"""Making paho client objects: identity, TLS, guarded callbacks; reading what a broker allows."""

from __future__ import annotations

import functools
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.oversize import MAX_PACKET, PacketLimit, ProtocolError
from butler_mqtt.mqtt.packet_socket import PacketSocket, SocketContext
from butler_mqtt.mqtt.websocket_place import Place

logger = logging.getLogger("butler_mqtt.mqtt")

KEEPALIVE_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5.0

_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker allows on a connection, from its CONNACK; sizes in bytes."""

    receive_maximum: int = 65535
    maximum_qos: int = 2
    retain_available: bool = True
    maximum_packet_size: int | None = None
    session_expiry_seconds: int | None = None
    subscription_identifiers: bool = True

    @classmethod
    def of(cls, properties: Properties | None) -> BrokerLimits:
        """Read the CONNACK properties; MQTT 3.1.1 has none."""
        return cls(
            receive_maximum=getattr(properties, "ReceiveMaximum", 65535),
            maximum_qos=getattr(properties, "MaximumQoS", 2),
            retain_available=bool(getattr(properties, "RetainAvailable", 1)),
            maximum_packet_size=getattr(properties, "MaximumPacketSize", None),
            session_expiry_seconds=getattr(properties, "SessionExpiryInterval", None),
            subscription_identifiers=bool(getattr(properties, "SubscriptionIdentifierAvailable", 1)),
        )


def guarded(function: Callable[_P, None]) -> Callable[_P, None]:
    """
    Keep exceptions of *function* out of paho, whose network thread would die of them.

    They are bugs: logged with the traceback, the loop goes on.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception(
                "A bug in handling MQTT (%r); the connection goes on",
                function,
                extra={"action": "mqtt_callback_failed"},
            )

    return call


def named(reason: ReasonCode) -> str:
    """Return a reason code as number and name."""
    return f"0x{reason.value:02X} {reason}"


def login_name(mqtt: settings.MqttSettings) -> str:
    """Name whom the broker's rights are about, for people."""
    return f"user {mqtt.username}" if mqtt.username is not None else f"client {mqtt.client_id}"


def new_client(
    mqtt: settings.MqttSettings, client_id: str, *, keep_session: bool, limited: bool = False
) -> paho.Client:
    """
    Make a client object for one connection.

    The certificates are read each time, so that renewed ones are used at the
    next connection. With *limited*, packets of the broker larger than a request
    may be are cut short; a reply may be larger.

    Raises:
        BrokerError: A certificate or key file cannot be used.
    """
    is_v5 = mqtt.protocol_version == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if is_v5 else not keep_session,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = CONNECT_TIMEOUT_SECONDS
    # 0 is no limit: the window is kept by us, and paho need not search it at every PUBACK.
    client.max_inflight_messages = 0
    if mqtt.username is not None:
        client.username_pw_set(mqtt.username, mqtt.password)
    # With TLS and without: it is where paho asks for its socket.
    client.tls_set_context(_socket_context(mqtt, packet_limit(mqtt, limited=limited)))
    client.on_socket_open = guarded(_set_no_delay)
    # With this set, paho leaves writing to the network thread. Without it, publish() and ack() write from
    # the caller's thread too, and two writers can mix their packets.
    client.on_socket_register_write = _leave_to_loop
    return client


def connect(
    client: paho.Client,
    mqtt: settings.MqttSettings,
    *,
    keep_session: bool,
    limited: bool = False,
    keepalive_seconds: int = KEEPALIVE_SECONDS,
) -> None:
    """
    Open the socket and send CONNECT, with *limited* as in `new_client`.

    Raises:
        OSError: The host is not known, not there, or TLS failed (ssl.SSLError).
        UnicodeError: The host name cannot be one.
    """
    if mqtt.protocol_version != "5":
        client.connect(mqtt.broker_host, mqtt.broker_port, keepalive_seconds)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped
    if limited:
        properties.MaximumPacketSize = packet_limit(mqtt, limited=True).packet
    if keep_session:
        properties.SessionExpiryInterval = mqtt.session_expiry_seconds
        properties.ReceiveMaximum = mqtt.receive_maximum
    # Explicit: paho's default is a clean start at the first connection of each client object.
    client.connect(
        mqtt.broker_host,
        mqtt.broker_port,
        keepalive_seconds,
        clean_start=not keep_session,
        properties=properties,
    )


def problem_of(client: paho.Client) -> Callable[[], ProtocolError | None]:
    """
    Return what tells why nothing more is read of a client that has just connected; None while it is.

    paho closes the socket and forgets it when the connection ends.
    """
    sock = client.socket()
    return lambda: sock.problem if isinstance(sock, PacketSocket) else None


def tls_reason(error: ssl.SSLError) -> str:
    """Explain what TLS objected to, and what to change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted ({error.verify_message}); see mqttConfig.tls.caFile"
    return str(error)


def packet_limit(mqtt: settings.MqttSettings, *, limited: bool) -> PacketLimit:
    """Return how large packets of the broker may be, with *limited* as in `new_client`."""
    payload = mqtt.max_payload_bytes if limited else MAX_PACKET
    return PacketLimit(payload, is_v5=mqtt.protocol_version == "5")


def _socket_context(mqtt: settings.MqttSettings, limit: PacketLimit) -> SocketContext:
    tls = _tls_context(mqtt.tls) if mqtt.tls.enable else None
    place = None
    if mqtt.transport == "websockets":
        place = Place(mqtt.broker_host, mqtt.broker_port, mqtt.websocket_path, secure=tls is not None)
    return SocketContext(limit, tls=tls, place=place)


def _tls_context(tls: settings.MqttTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise BrokerError(f"mqttConfig.tls.caFile {tls.ca_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file is not None:
        try:
            # With an empty password an encrypted key fails, instead of asking on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            files = f"mqttConfig.tls.certFile {tls.cert_file} with keyFile {tls.key_file}"
            raise BrokerError(f"{files} cannot be used: {error}") from error
    return context


def _set_no_delay(_client: paho.Client, _userdata: object, sock: Any) -> None:
    # Nagle's algorithm and delayed acknowledgements together cost 40 ms per message. A second handle of the
    # same socket, since paho's websocket shows no more of it than its number.
    with socket.socket(fileno=os.dup(sock.fileno())) as handle:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_to_loop(_client: paho.Client, _userdata: object, _sock: object) -> None:
    """Do nothing: paho has already woken the network loop."""
