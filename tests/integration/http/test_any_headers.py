"""Whatever the bytes of a head, the answer is never 5xx, and the listener keeps serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt.http.server.protocol import HttpLimits
from tests.integration.http.rest_listener import BOTH, Door, door, rest_of
from tests.integration.http.test_guard import GUARDED

NAMES = [
    b"Host",
    b"Origin",
    b"Prefer",
    b"Idempotency-Key",
    b"Authorization",
    b"Content-Length",
    b"Content-Type",
    b"Transfer-Encoding",
    b"Connection",
    b"Upgrade",
    b"Expect",
    b"Accept",
    b"Range",
    b"Cookie",
    b"X-Forwarded-For",
]
#: Pieces of which real values are made, so that more than the first check is reached.
WORDS = [
    b"localhost",
    b"http://",
    b"[",
    b"]",
    b":",
    b"::1",
    b"null",
    b"Bearer ",
    b"Basic ",
    b"eDp5",
    b"=",
    b'"',
    b";",
    b",",
    b"charset=",
    b"utf-8",
    b"application/json",
    b"respond-async",
    b"chunked",
    b"close",
    b"100-continue",
    b"h2c",
    b"12",
    b"0" * 5000,
    b"9" * 5000,
    b"%",
    b"\xff",
    b"\x80",
    b"\xc2\x9b",
    b"\t",
    b" ",
    b"",
]
VALUES = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=4).map(b"".join),
    st.binary(max_size=30),
)
PATHS = [
    b"/v4/reloadtask/start",
    b"/v4/reloadtask/-/start?allTaskIdsMustExist=true",
    b"/v4/requests/x?wait=%39",
    b"/metrics",
    b"/healthz",
    b"/docs",
    b"/nothing",
    b"/%5B",
]
LINES = st.one_of(st.tuples(st.sampled_from(NAMES), VALUES), st.tuples(st.binary(max_size=20), VALUES))
#: What waits for a body that does not come is cut off soon, with 408.
QUICK = HttpLimits(head_seconds=0.1, body_seconds=0.1)
DOORS: dict[str, Callable[..., AbstractContextManager[Door]]] = {
    **BOTH,
    "REST with tokens": partial(door, GUARDED),
}


@pytest.fixture(scope="module", params=DOORS)
def one(request: pytest.FixtureRequest) -> Iterator[Door]:
    with DOORS[request.param](limits=QUICK) as running:
        yield running


@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE"]),
    path=st.sampled_from(PATHS),
    lines=st.lists(LINES, max_size=5),
    body=st.sampled_from(
        [b"", b'{"tag": "x"}', b"[]", b"\xff", b"c\r\n" + b'{"tag": "x"}' + b"\r\n0\r\n\r\n"]
    ),
)
@example(b"POST", b"/v4/reloadtask/start", [(b"Origin", b"http://[")], b"")
@example(b"GET", b"/nothing", [(b"Host", b"[")], b"")
@example(b"GET", b"/docs", [(b"Authorization", b"Basic \xe4")], b"")
@example(b"POST", b"/v4/reloadtask/start", [(b"Content-Length", b"0" * 5000)], b"")
@example(b"POST", b"/v4/reloadtask/start", [(b"Content-Type", b"a/b; charset=\xff")], b"")
@example(b"POST", b"/v4/reloadtask/start", [(b"Idempotency-Key", b'"\xff"')], b"")
def test_no_bytes_in_a_head_are_our_fault(
    one: Door, method: bytes, path: bytes, lines: list[tuple[bytes, bytes]], body: bytes
) -> None:
    # `close` stands last: the connection ends with the answer, whatever the body was.
    head = [
        method + b" " + path + b" HTTP/1.1\r\n",
        *(name + b": " + value + b"\r\n" for name, value in lines),
    ]
    length = b"" if body.startswith(b"c\r\n") else b"Content-Length: %d\r\n" % len(body)
    with one.connect() as connection:
        connection.sendall(b"".join([*head, length, b"Connection: close\r\n\r\n", body]))
        received = rest_of(connection)
    assert received.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 5" not in received
    assert "internal_error" not in one.pipeline.refusals
