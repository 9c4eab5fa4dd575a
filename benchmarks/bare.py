"""
The bare clients that everything is held against: nothing but the calls themselves.

`python -m benchmarks.bare BROKER_PORT SERVER_PORT CERTS` is the smallest thing
that does what people use: subscribe, and POST each message's task; with `--ask`
behind them it asks for the task first, as everybody must who does not know it.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from requests.adapters import HTTPAdapter

from benchmarks.rig import BARE_TOPIC

KEY = "0123456789abcdef"
HEADERS = {
    "X-Qlik-Xrfkey": KEY,
    "X-Qlik-User": "UserDirectory=INTERNAL; UserId=sa_repository",
    "Content-Type": "application/json",
}

#: What the daemon writes to disk before the POST of one request.
COMMIT_BYTES = 11 * 4096

Post = Callable[[str], None]


def path_of(task_id: str) -> str:
    """Give the path that starts a task."""
    return f"/qrs/task/{task_id}/start/synchronous?xrfkey={KEY}"


def with_session(port: int, certs: Path, *, ask: bool = False) -> Post:
    """Post through `requests.Session`; with *ask* the task is read before."""
    session = requests.Session()
    session.trust_env = False
    session.cert = (str(certs / "client.pem"), str(certs / "client_key.pem"))
    session.verify = str(certs / "root.pem")

    def read(task_id: str) -> None:
        wanted = quote(f"id eq {task_id}")
        url = f"https://127.0.0.1:{port}/qrs/task/full?xrfkey={KEY}&filter={wanted}"
        (task,) = session.get(url, headers=HEADERS, timeout=10).json()
        assert task["id"] == task_id, task

    def post(task_id: str) -> None:
        if ask:
            read(task_id)
        answer = session.post(f"https://127.0.0.1:{port}{path_of(task_id)}", headers=HEADERS, timeout=10)
        assert answer.status_code == 201, answer.text

    return post


def with_adapter(port: int, certs: Path) -> Post:
    """Post through the adapter of `requests`, with prepared requests."""
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)

    def post(task_id: str) -> None:
        request = requests.Request("POST", f"https://127.0.0.1:{port}{path_of(task_id)}", headers=HEADERS)
        answer = adapter.send(
            request.prepare(),
            timeout=10,
            verify=str(certs / "root.pem"),
            cert=(str(certs / "client.pem"), str(certs / "client_key.pem")),
        )
        # Reading it gives the connection back.
        assert answer.content, answer.status_code

    return post


def with_http_client(port: int, certs: Path) -> Post:
    """Post through the standard library."""
    context = ssl.create_default_context(cafile=str(certs / "root.pem"))
    context.load_cert_chain(certs / "client.pem", certs / "client_key.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)

    def post(task_id: str) -> None:
        connection.request("POST", path_of(task_id), headers=HEADERS)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 201, body

    return post


CLIENTS: dict[str, Callable[[int, Path], Post]] = {
    "requests.Session": with_session,
    "requests HTTPAdapter": with_adapter,
    "http.client": with_http_client,
}


def loop(make: Callable[[int, Path], Post], port: int, certs: Path, tasks: Sequence[str]) -> float:
    """Post *tasks* one after another over one connection; give POSTs per second."""
    post = make(port, certs)
    post(tasks[0])
    began = time.monotonic()
    for task_id in tasks[1:]:
        post(task_id)
    return (len(tasks) - 1) / (time.monotonic() - began)


def disk(folder: Path, rate: int, seconds: float) -> list[float]:
    """Write as much as a commit, at a steady rate and in place; give the milliseconds until it is on disk."""
    waits = []
    with tempfile.TemporaryFile(dir=folder) as file:
        written = bytes(COMMIT_BYTES)
        for number in range(int(rate * seconds) + 1):
            began = time.monotonic()
            os.pwrite(file.fileno(), written, 0)
            os.fdatasync(file.fileno())
            if number:  # the first makes the file longer
                waits.append((time.monotonic() - began) * 1000)
            time.sleep(1 / rate)
    return waits


def subscribe_and_post(broker_port: int, server_port: int, certs: Path, *, ask: bool) -> None:
    """Post for each message, within its callback, for ever; prints a line when subscribed."""
    post = with_session(server_port, certs, ask=ask)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=MQTTProtocolVersion.MQTTv5)

    def on_socket_open(_client: paho.Client, _userdata: object, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_message(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        post(message.payload.decode())

    def on_connect(client: paho.Client, *_: Any) -> None:
        client.subscribe(BARE_TOPIC, 1)

    client.on_socket_open = on_socket_open
    client.on_message = on_message
    client.on_connect = on_connect
    client.on_subscribe = lambda *_: print("subscribed", flush=True)
    client.connect("127.0.0.1", broker_port)
    client.loop_forever()


if __name__ == "__main__":
    subscribe_and_post(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), ask="--ask" in sys.argv)
