"""A websocket listener in front of a broker, as a proxy provides it; Debian's mosquitto is built without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from butler_mqtt import settings


@contextlib.contextmanager
def bridge(broker: settings.MqttSettings, certificate: Path | None = None) -> Iterator[settings.MqttSettings]:
    """
    Take MQTT over websockets on a free port and pass it to *broker* by TCP.

    Args:
        broker: Its listener without TLS.
        certificate: PEM file with key and certificate; then the listener speaks TLS.

    Yields:
        Settings that lead through the bridge.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def relay(client: ServerConnection) -> None:
        with socket.create_connection((broker.broker_host, broker.broker_port)) as upstream:
            back = threading.Thread(target=_back, args=(upstream, client))
            back.start()
            with contextlib.suppress(ConnectionClosed, OSError):
                for message in client:
                    upstream.sendall(message if isinstance(message, bytes) else message.encode())
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join(5)

    server: Server
    with serve(relay, "127.0.0.1", 0, ssl=context, subprotocols=["mqtt"]) as server:  # type: ignore[list-item] # a name of its own for str
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield replace(broker, transport="websockets", broker_port=server.socket.getsockname()[1])
        finally:
            server.shutdown()
            thread.join(5)


def _back(upstream: socket.socket, client: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while data := upstream.recv(65536):
            client.send(data)
    client.close()
