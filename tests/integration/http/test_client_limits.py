"""Clients that are slow, greedy or silent."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

import pytest
import requests

from butler_mqtt.http.server.protocol import HttpLimits
from butler_mqtt.settings import RestSettings
from tests.brokers import until
from tests.integration.http.rest_listener import door, rest_of

QUICK = HttpLimits(head_seconds=0.2, body_seconds=0.3, unread_seconds=0.3)
HEAD = b"POST /v4/reloadtask/start HTTP/1.1\r\nHost: localhost\r\n"


def send_chunks(connection: socket.socket) -> None:
    for _ in range(10_000):
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def body_of(answer: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def test_a_connection_that_says_nothing_is_closed() -> None:
    with door(limits=QUICK) as one:
        answer = one.exchange()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert body_of(answer)["code"] == "request_timeout"


def test_a_head_that_trickles_is_cut_off() -> None:
    with door(limits=QUICK) as one, one.connect() as connection:
        began = time.monotonic()
        connection.sendall(HEAD)
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 20


def test_a_body_that_trickles_is_cut_off() -> None:
    with door(limits=QUICK) as one, one.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = rest_of(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body of the request did not come within 0.3 s" in answer
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize(
    "pieces", [[b"X: " + b"y" * 20000 + b"\r\n\r\n"], [b"X: y\r\n"] * 3000, [b"X: " + b"y" * 17000]]
)
def test_headers_that_do_not_end_are_refused(pieces: list[bytes]) -> None:
    with door() as one:
        answer = one.exchange(HEAD, *pieces)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert body_of(answer)["code"] == "headers_too_large"


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent() -> None:
    with door(RestSettings(max_body_bytes=1000)) as one, one.connect() as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert body_of(answer)["code"] == "too_large"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_ten_megabytes_gets_the_refusal_and_not_a_broken_connection(*, chunked: bool) -> None:
    with door(RestSettings(max_body_bytes=1000)) as one:
        data = (b"x" * 100_000 for _ in range(100)) if chunked else b"x" * 10_000_000
        answer = requests.post(one.start, data=data, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert one.pipeline.arrivals == []


def test_a_body_of_exactly_the_limit_is_taken() -> None:
    with door(RestSettings(max_body_bytes=20, rest_wait_seconds=5)) as one:
        assert requests.post(one.start, data=b'{"tag": "x"}        ', timeout=10).status_code == 200
        assert requests.post(one.start, data=b'{"tag": "x"}         ', timeout=10).status_code == 413


def test_an_endless_body_is_cut_off() -> None:
    with (
        door(RestSettings(max_body_bytes=1000), limits=HttpLimits(discarded_bytes=1_000_000)) as one,
        one.connect() as connection,
    ):
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_chunks(connection)


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with door(limits=QUICK) as one, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", one.port))
        connection.settimeout(10)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
        # Else nothing may have been accepted yet, and nothing is given up.
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: not one.listener.connections, what="the connection is given up")
        with pytest.raises(ConnectionError):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)


def test_connections_beyond_the_limit_are_closed_and_the_others_work_on() -> None:
    with door(limits=HttpLimits(connections=20)) as one, ExitStack() as stack:
        session = stack.enter_context(requests.Session())
        assert session.get(one.url + "/healthz", timeout=10).ok
        idle = [stack.enter_context(one.connect()) for _ in range(100)]
        closed = 0
        for connection in idle:
            connection.settimeout(0.02)
            try:
                closed += connection.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                closed += 1
        assert closed == 81
        assert session.get(one.url + "/healthz", timeout=10).ok


def test_room_is_made_when_connections_close() -> None:
    with door(limits=HttpLimits(connections=3)) as one:
        for _ in range(10):
            assert requests.get(one.url + "/healthz", timeout=10, headers={"Connection": "close"}).ok
        until(lambda: one.listener.connections == 0)


def test_what_is_not_http_is_refused() -> None:
    with door() as one:
        assert one.exchange(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400 ")
