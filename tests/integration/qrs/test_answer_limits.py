"""An answer is bounded in time and in size, however its bytes come; what was sent and cut off is in doubt."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain

import pytest
from urllib3.exceptions import ConnectTimeoutError

from butler_mqtt.domain.model import Task
from butler_mqtt.errors import OutcomeUnknown, QlikUnavailable
from butler_mqtt.qrs.answer_limits import BODY_BYTES, HEAD_BYTES, Limits, Meter
from butler_mqtt.qrs.http_connection import PlainConnection
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import QrsSettings as Settings
from butler_mqtt.settings import Retry
from tests.integration.qrs.dripping import (
    CUT,
    RESET,
    DrippingServer,
    Piece,
    Pieces,
    drip,
    drip_for_ever,
    dripping,
    flood,
)
from tests.integration.qrs.scripted_server import Files, make_files, reply, settings_for

TASK = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
STARTED = reply(201, {"value": RUN})
#: Seconds without a byte; longer than any pause of a drip, so that only the limits can end one.
SILENCE = 10.0
#: Much shorter than a drip would last, and far longer than any answer here takes that is allowed.
LIMITS = Limits(seconds=0.4, bytes_per_second=1024 * 1024, head_bytes=20_000, body_bytes=1_000_000)
#: For what is not ended by time: however slow this machine is just now, the time is not over first.
SIZE_LIMITS = replace(LIMITS, seconds=60.0)
#: Nothing here comes near it unless a limit is missing.
SOON = 5.0
MEGABYTES_200 = 200_000_000
ZEROS = bytes(100_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("site"))


@pytest.fixture(params=["tls", "plain"])
def site(request: pytest.FixtureRequest, files: Files) -> Files | None:
    return files if request.param == "tls" else None


@contextmanager
def connected(
    server: DrippingServer, site: Files | None, limits: Limits = LIMITS, **changes: object
) -> Iterator[RepositoryConnection]:
    settings = settings_for(
        server, site, **({"read_timeout_seconds": SILENCE, "retry": Retry(attempts=1)} | changes)
    )
    connection = RepositoryClient(settings, threading.Event(), limits=limits).connection()
    yield connection
    connection.close()


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 201 Created", *lines, b"", b""])


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = head(b"Transfer-Encoding: chunked")
BOMB = gzip.compress(bytes(MEGABYTES_200 // 10), compresslevel=1)

TOO_SLOW: dict[str, Callable[[], Pieces]] = {
    "nothing": lambda: [SILENCE],
    "the status line by byte": lambda: drip(STARTED),
    "a header that never ends": lambda: chain([STARTED[:20]], drip_for_ever(b"x")),
    "headers by byte": lambda: chain([STARTED[:20]], drip(STARTED[20:])),
    "100 Continue for ever": lambda: drip_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 Early Hints for ever": lambda: drip_for_ever(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "the body by byte": lambda: chain([head(b"Content-Length: 48")], drip(b'{"value": "' + RUN.encode())),
    "a body without length by byte": lambda: chain([head()], drip_for_ever(b" ")),
    "a body that stops": lambda: [head(b"Content-Length: 48"), b"{", SILENCE],
    "chunks of a byte": lambda: chain([CHUNKED], drip_for_ever(chunk(b" "))),
    "a chunk by byte": lambda: chain([CHUNKED + b"ffff\r\n"], drip_for_ever(b" ")),
    "the size of a chunk by byte": lambda: chain([CHUNKED], drip_for_ever(b"0")),
    "trailers for ever": lambda: chain([CHUNKED + b"0\r\n"], drip_for_ever(b"X: 1\r\n")),
    "an encoded body by byte": lambda: chain(
        [head(b"Content-Encoding: gzip", b"Content-Length: 9000")], drip_for_ever(BOMB[:1])
    ),
}
TOO_LARGE: dict[str, Callable[[], Pieces]] = {
    "a flood of 100 Continue": lambda: flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a flood of 103": lambda: flood(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
    "200 MB": lambda: chain([head(b"Content-Length: %d" % MEGABYTES_200)], flood(ZEROS, MEGABYTES_200)),
    "a body that never ends": lambda: chain([head()], flood(ZEROS)),
    "chunks without end": lambda: chain([CHUNKED], flood(chunk(ZEROS))),
    "trailers without end": lambda: chain([CHUNKED + b"0\r\n"], flood(b"X: 1\r\n" * 10_000)),
    "20 MB as 20 KB": lambda: [head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(BOMB)), BOMB],
}
BROKEN: dict[str, Callable[[], Pieces]] = {
    "the size of a chunk without end": lambda: chain([CHUNKED], flood(ZEROS.replace(b"\0", b"0"))),
    "reset before a byte": lambda: [RESET],
    "reset within the headers": lambda: [STARTED[:20], 0.01, RESET],
    "reset within the body": lambda: [STARTED[:-5], 0.01, RESET],
    "cut within a chunk": lambda: [CHUNKED + b"ff\r\n{", CUT],
}


def test_what_is_promised_of_sizes_and_rates() -> None:
    limits = Limits.of(Settings(read_timeout_seconds=30.0))
    assert (limits.seconds, limits.bytes_per_second) == (30.0, 64 * 1024)
    assert (limits.head_bytes, limits.body_bytes) == (HEAD_BYTES, BODY_BYTES) == (1 << 20, 64 << 20)


@pytest.mark.parametrize("case", [*TOO_SLOW, *TOO_LARGE, *BROKEN])
def test_a_start_whose_answer_passes_a_limit_is_in_doubt_and_not_repeated(
    site: Files | None, case: str
) -> None:
    pieces = (TOO_SLOW | TOO_LARGE | BROKEN)[case]
    limits = LIMITS if case in TOO_SLOW else SIZE_LIMITS
    with dripping(pieces, site) as server, connected(server, site, limits) as connection:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown) as caught:
            connection.start(TASK)
        assert time.monotonic() - began < SOON
        assert len(server.calls) == 1
        assert server.sent < 20_000_000
        expected = "in time" if case in TOO_SLOW else "more than" if case in TOO_LARGE else ""
        assert expected in str(caught.value)
        # The next start is not held up by what is still coming.
        server.pieces = lambda: [STARTED]
        assert connection.start(TASK) == RUN


@pytest.mark.parametrize(
    "case", ["a header that never ends", "100 Continue for ever", "the body by byte", "200 MB"]
)
def test_a_read_whose_answer_passes_a_limit_is_an_outage(case: str) -> None:
    with (
        dripping((TOO_SLOW | TOO_LARGE)[case]) as server,
        connected(server, None, retry=Retry(attempts=2)) as connection,
    ):
        began = time.monotonic()
        with pytest.raises(QlikUnavailable):
            connection.about()
        assert time.monotonic() - began < 2 * SOON
        assert len(server.calls) == 2


def test_a_large_answer_gets_the_time_that_its_size_takes(site: Files | None) -> None:
    body = b'{"value": "%s", "x": "%s"}' % (RUN.encode(), b"x" * 90_000)

    def slowly() -> Iterator[Piece]:
        yield head(b"Content-Length: %d" % len(body))
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]
            yield 0.01

    # 0.9 s at least: more than the body is given at once, less than its bytes are worth.
    limits = Limits(seconds=0.4, bytes_per_second=10_000)
    with dripping(slowly, site) as server, connected(server, site, limits) as connection:
        assert connection.start(TASK) == RUN


def test_a_handshake_in_drips_has_sent_nothing(files: Files) -> None:
    greeting = chain([b"\x16\x03\x03\x40\x00"], drip_for_ever(b"\x02"))
    with (
        dripping(lambda: [STARTED], None, greeting=greeting) as server,
        connected(server, files, connect_timeout_seconds=0.3) as connection,
    ):
        began = time.monotonic()
        with pytest.raises(QlikUnavailable, match="in time"):
            connection.start(TASK)
        assert time.monotonic() - began < SOON


@contextmanager
def deaf(addresses: list[str]) -> Iterator[int]:
    """Return a port at which no more connection is taken, at each of *addresses*."""
    with ExitStack() as stack:
        port = 0
        for address in addresses:
            listener = stack.enter_context(socket.create_server((address, port), backlog=0))
            port = listener.getsockname()[1]
            for _ in range(3):  # more than wait in a queue of none
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield port


def test_all_addresses_of_a_host_share_the_time_to_connect() -> None:
    addresses = [f"127.0.0.{number}" for number in range(2, 12)]
    with deaf(addresses) as port:
        connection = PlainConnection(
            "qlik", port, timeout=0.5, meter=Meter(LIMITS), resolve=lambda *_: addresses.copy()
        )
        began = time.monotonic()
        with pytest.raises(ConnectTimeoutError):
            connection.connect()
        assert 0.4 < time.monotonic() - began < 2
        assert not connection.meter.sent
        assert connection.host == "qlik"


def test_a_host_is_reached_at_the_address_that_answers() -> None:
    with deaf(["127.0.0.2"]) as port, socket.create_server(("127.0.0.3", port)):
        connection = PlainConnection(
            "qlik",
            port,
            timeout=1,
            meter=Meter(LIMITS),
            resolve=lambda *_: ["127.0.0.2", "127.0.0.3"],
        )
        connection.connect()
        assert connection.sock.getpeername()[0] == "127.0.0.3"
        connection.close()
