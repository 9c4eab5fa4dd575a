"""What no honest client sends, to either listener: it costs next to nothing, and is answered 4xx."""

from __future__ import annotations

import json
import socket

import pytest
import requests

from butler_mqtt.http.server.protocol import HttpLimits
from butler_mqtt.settings import RestSettings
from tests.brokers import until
from tests.integration.http.hostile_client import CHUNKED, LAST_CHUNK, METRICS, PATIENCE, START
from tests.integration.http.rest_listener import BOTH, door

QUICK = HttpLimits(head_seconds=0.4, body_seconds=0.4, unread_seconds=0.4, idle_seconds=1)
#: What may be under way in buffers of both kernels when the listener hangs up.
BUFFERED = 16 * 1024 * 1024

LINE = b"x: " + b"y" * 1000 + b"\r\n"
FLOODS = {
    "trailers": (START + CHUNKED + LAST_CHUNK, LINE),
    "one trailer": (START + CHUNKED + LAST_CHUNK + b"x: ", b"y" * 1000),
    "the name of a trailer": (START + CHUNKED + LAST_CHUNK, b"y" * 1000),
    "an extension of a chunk": (START + CHUNKED + b"1;", b"y" * 1000),
    "an extension of the last chunk": (START + CHUNKED + b"0;", b"y=z;" * 100),
    "the size of a chunk": (START + CHUNKED, b"0" * 1000),
    "headers": (START, LINE),
    "one header": (START + b"x: ", b"y" * 1000),
    "the name of a header": (START, b"y" * 1000),
    "the request line": (b"GET /", b"y" * 1000),
    "the query": (b"GET /metrics?", b"y" * 1000),
    "the method": (b"", b"G" * 1000),
    "empty lines": (b"", b"\r\n" * 500),
    "no HTTP at all": (b"", b"\x00" * 1000),
}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("flood", FLOODS)
def test_what_does_not_end_is_cut_off_at_the_limit_of_a_head(kind: str, flood: str) -> None:
    head, piece = FLOODS[flood]
    with BOTH[kind]() as one:
        ended = one.hostile.flood(head, piece)
        assert ended.closed
        assert ended.sent < BUFFERED
        assert ended.status in {400, 404, 405, 431, None}  # None: reset before it could be read
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize("kind", BOTH)
def test_trailers_and_head_together_have_one_limit(kind: str) -> None:
    trailer = b"x: " + b"y" * 7000 + b"\r\n"
    with BOTH[kind]() as one:
        taken = START + b"Connection: close\r\n" + CHUNKED + LAST_CHUNK + trailer * 2 + b"\r\n"
        assert one.hostile.send(taken).status in {200, 405, 404}
        refused = START + b"Connection: close\r\n" + trailer + CHUNKED + LAST_CHUNK + trailer * 2 + b"\r\n"
        ended = one.hostile.send(refused)
        assert ended.closed
        assert ended.status in {431, 404}  # 404: the monitoring listener does not wait for the body


@pytest.mark.parametrize(("beyond", "status"), [(0, 200), (1, 431)])
def test_trailers_that_come_at_once_count_to_the_byte(beyond: int, status: int) -> None:
    # Counted are the target, and each header and trailer with its colon, blank and line end.
    head = b"POST /v4/reloadtask/start HTTP/1.1\r\n" + b"Host: localhost\r\nConnection: close\r\n" + CHUNKED
    counted = len(head) - len(b"POST  HTTP/1.1\r\n") - len(b"\r\n")
    trailer = b"x: " + b"y" * (16 * 1024 - counted - len(b"x: \r\n") + beyond) + b"\r\n"
    with door() as one:
        ended = one.hostile.send(head + LAST_CHUNK + trailer + b"\r\n")
        assert ended.status == status
        assert len(one.pipeline.arrivals) == (status == 200)


def test_a_request_whose_trailers_are_too_long_is_not_carried_out() -> None:
    with door() as one:
        ended = one.hostile.send(START + CHUNKED + LAST_CHUNK + LINE * 20 + b"\r\n")
        assert (ended.status, ended.body["code"]) == (431, "headers_too_large")
        assert one.pipeline.arrivals == []


def test_a_trailer_is_no_header() -> None:
    with door() as one:
        ended = one.hostile.send(
            START, b"Connection: close\r\n", CHUNKED, LAST_CHUNK, b"Idempotency-Key: late\r\n\r\n"
        )
        assert ended.status == 200
        assert one.pipeline.arrivals[0].request_id != "late"


def test_a_chunked_body_is_cut_off_by_what_was_sent_and_not_by_what_it_holds() -> None:
    with door(RestSettings(max_body_bytes=1000), limits=HttpLimits(discarded_bytes=1_000_000)) as one:
        ended = one.hostile.flood(START + CHUNKED, b"1;" + b"x" * 1000 + b"\r\nx\r\n")
        assert ended.closed
        assert ended.sent < BUFFERED


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"G"),
        (b"", b"\r\n"),
        (METRICS, b"x"),
        (METRICS, b"x: y\r\n"),
        (START + b"Content-Length: 9999\r\n\r\n", b" "),
        (START + CHUNKED, b"1\r\nx\r\n"),
        (START + CHUNKED + LAST_CHUNK, b"x: y\r\n"),
        (START + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
def test_what_comes_byte_by_byte_has_a_time_as_a_whole(kind: str, head: bytes, piece: bytes) -> None:
    with BOTH[kind](limits=QUICK) as one:
        ended = one.hostile.drip(head, piece)
        assert ended.closed
        assert ended.status in {400, 408, 404, 405, None}
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize("kind", BOTH)
def test_empty_lines_do_not_keep_an_idle_connection(kind: str) -> None:
    with BOTH[kind](limits=QUICK) as one:
        ended = one.hostile.drip(METRICS + b"\r\n", b"\r\n")
        assert ended.closed
        assert ended.received.count(b"HTTP/1.1 ") == 1


def test_a_connection_whose_body_came_after_the_answer_is_closed_when_it_is_idle() -> None:
    with door(RestSettings(max_body_bytes=10), limits=QUICK) as one:
        ended = one.hostile.send(START + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
        assert ended.closed
        assert ended.status == 413
        assert ended.received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("kind", BOTH)
def test_a_client_that_does_not_read_the_answers_is_cut_off(kind: str) -> None:
    with BOTH[kind](limits=QUICK) as one, one.hostile.connect(receive_buffer=2048) as connection:
        connection.setblocking(False)
        until(lambda: _is_full(connection, (METRICS + b"\r\n") * 1000))
        connection.setblocking(True)
        # Else nothing may have been accepted yet, and nothing is given up.
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: not one.listener.connections, seconds=20, what="the connection is given up")


def _is_full(connection: socket.socket, piece: bytes) -> bool:
    try:
        connection.sendall(piece)
    except OSError:
        return True
    return False


def test_an_answer_that_is_left_unread_when_its_connection_was_closed_is_given_up() -> None:
    with door(limits=QUICK) as one, one.hostile.connect(receive_buffer=2048) as connection:
        wanted = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall((wanted + b"\r\n") * 400 + wanted + b"Connection: close\r\n\r\n")
        # Else nothing may have been accepted yet, and nothing is given up.
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: not one.listener.connections, seconds=20, what="the connection is given up")


@pytest.mark.parametrize("kind", BOTH)
def test_pipelined_requests_are_answered_in_order_one_after_the_other(kind: str) -> None:
    one_after_the_other = METRICS + b"\r\n" + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = METRICS + b"Connection: close\r\n\r\n"
    with BOTH[kind]() as one:
        ended = one.hostile.send(one_after_the_other * 200 + last)
        statuses = [line[9:12] for line in ended.received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        # A body ends without a line end: the next status line stands right behind it.
        assert ended.received.count(b"HTTP/1.1 200") == 201
        assert ended.received.count(b"HTTP/1.1 404") == 200
        assert statuses[0] == b"200"


def test_of_pipelined_starts_each_is_carried_out_with_its_own_body() -> None:
    with door() as one:
        bodies = [json.dumps({"tag": f"{number}" * 400}).encode() for number in range(9)]
        requests_ = [START + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
        ended = one.hostile.send(*requests_, METRICS + b"Connection: close\r\n\r\n")
        assert ended.received.count(b"HTTP/1.1 200") == 10
        assert [arrival.payload for arrival in one.pipeline.arrivals] == bodies


def test_what_is_wrong_behind_a_request_is_not_taken_for_its_answer() -> None:
    with door() as one:
        wrong = [b"\x00\x00", LINE * 20, b"GET /" + b"y" * 20000, b"CONNECT x:1 HTTP/1.1\r\n\r\n"]
        for behind in wrong:
            good = START + b"Content-Length: 12\r\n\r\n" + b'{"tag": "x"}'
            ended = one.hostile.send(good + behind + b"\r\n\r\n" + good)
            assert ended.received.count(b"HTTP/1.1 ") == 1
            assert ended.status == 200
            assert b"\r\nconnection: close\r\n" in ended.received
        assert len(one.pipeline.arrivals) == len(wrong)


SMUGGLED = b"0\r\n\r\n" + START + b"Content-Length: 12\r\n\r\n" + b'{"tag": "x"}'


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"Content-Length: 5, 5\r\n\r\n",
        b"Content-Length: +5\r\n\r\n",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"Content-Length: 5 5\r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"Content-Length : 5\r\n\r\n",
        b"X: y\r\n Content-Length: 5\r\n\r\n",
        b"X: y\rContent-Length: 5\r\n\r\n",
        b"X: \x00\r\n\r\n",
    ],
)
def test_a_request_whose_length_is_in_doubt_is_refused_and_nothing_behind_it_is_read(
    kind: str, framing: bytes
) -> None:
    with BOTH[kind]() as one:
        ended = one.hostile.send(START + framing + SMUGGLED)
        assert ended.closed
        assert (ended.status, ended.body["code"]) == (400, "invalid_request")
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_length_of_exabytes_is_refused_at_once(kind: str) -> None:
    with BOTH[kind]() as one, one.hostile.connect() as connection:
        connection.sendall(START + b"Content-Length: 9223372036854775807\r\n\r\n")
        assert connection.recv(65536)[9:12] in {b"413", b"404"}
        assert one.pipeline.arrivals == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_page_is_not_read_with_a_body_beyond_the_limit(kind: str) -> None:
    with BOTH[kind]() as one, one.hostile.connect() as connection:
        connection.sendall(METRICS + b"Content-Length: 262145\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_length_with_thousands_of_zeros_is_a_length() -> None:
    with door() as one:
        length = b"Content-Length: " + b"0" * 5000 + b"12\r\nConnection: close\r\n\r\n"
        assert one.hostile.send(START + length + b'{"tag": "x"}').status == 200


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("wanted", [b"websocket", b"h2c", b"nothing"])
def test_an_upgrade_is_not_made_and_the_connection_goes_on(kind: str, wanted: bytes) -> None:
    with BOTH[kind]() as one:
        upgrade = b"Upgrade: " + wanted + b"\r\nConnection: Upgrade\r\n\r\n"
        ended = one.hostile.send((METRICS + upgrade) * 3 + METRICS + b"Connection: close\r\n\r\n")
        assert ended.received.count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize(
    "framed",
    [b'Content-Length: 12\r\n\r\n{"tag": "x"}', CHUNKED + b'c\r\n{"tag": "x"}\r\n0\r\n\r\n'],
)
def test_a_start_whose_client_would_rather_speak_http_2_is_an_ordinary_start(framed: bytes) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    with door() as one:
        last = METRICS + b"Connection: close\r\n\r\n"
        ended = one.hostile.send((START + upgrade + framed) * 2 + last)
        assert ended.received.count(b"HTTP/1.1 200 ") == 3
        assert [arrival.payload for arrival in one.pipeline.arrivals] == [b'{"tag": "x"}'] * 2


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT localhost:1 HTTP/1.1",
        b"GET http://[ HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET metrics HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /%ff%00 HTTP/1.1",
        b"GET // HTTP/1.1",
        b"GET /v4/requests/%0d%0aX:%20y?wait=%ff HTTP/1.1",
        b"GET / HTTP/2.0",
        b"GET / HTTP/9.9",
        b"PRI * HTTP/2.0",
        b"get /metrics HTTP/1.1",
        b"TRACE /metrics HTTP/1.1",
    ],
)
def test_a_strange_request_line_is_the_callers_fault(kind: str, line: bytes) -> None:
    with BOTH[kind]() as one:
        ended = one.hostile.send(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert ended.status in {400, 404, 405}
        assert ended.body["code"] in {"invalid_request", "not_found", "method_not_allowed"}


@pytest.mark.parametrize("kind", BOTH)
def test_http_1_0_without_a_host_is_served_and_closed(kind: str) -> None:
    with BOTH[kind]() as one:
        ended = one.hostile.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert (ended.closed, ended.status) == (True, 200)


@pytest.mark.parametrize("kind", BOTH)
def test_the_listener_works_on_after_all_of_it(kind: str) -> None:
    with BOTH[kind](limits=QUICK) as one:
        for head, piece in FLOODS.values():
            one.hostile.flood(head, piece, enough=1_000_000)
        until(lambda: not one.listener.connections, seconds=PATIENCE, what="all connections are gone")
        assert requests.get(f"{one.url}/healthz", timeout=10).ok
