"""One call of a start path, read from HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from starlette.requests import Request
from starlette.types import Message

from butler_mqtt.errors import RequestError
from butler_mqtt.http.api import start_call
from butler_mqtt.http.api.start_call import StartCall

GUID = "a8b4c123-def4-5678-9abc-def012345678"


def request(
    *headers: tuple[str, str],
    body: bytes | list[bytes] = b"{}",
    path: Mapping[str, str] | None = None,
    cut: bool = False,
) -> Request:
    """Return a request whose body comes in these pieces; *cut*: and then the client is gone."""
    pieces = [body] if isinstance(body, bytes) else body
    coming: list[Message] = [{"type": "http.request", "body": one, "more_body": True} for one in pieces]
    coming.append({"type": "http.disconnect"} if cut else {"type": "http.request", "body": b""})

    async def receive() -> Message:
        return coming.pop(0)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "POST", "headers": raw, "query_string": b"", "path_params": path or {}}
    return Request(scope, receive)


def read(*headers: tuple[str, str], key: str | None = None, **more: object) -> StartCall:
    return asyncio.run(start_call.read(request(*headers, **more), key, 100))  # type: ignore[arg-type] # any of `request`


def refusal(*headers: tuple[str, str], key: str | None = None, **more: object) -> str:
    with pytest.raises(RequestError) as caught:
        read(*headers, key=key, **more)
    return caught.value.code


def test_a_path_may_name_a_task_or_none() -> None:
    assert read(path={"task_id": GUID}).path_task_id == GUID
    assert read(path={"task_id": "-"}).path_task_id is None
    assert read().path_task_id is None


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("abc", "abc"),
        ('"abc"', "abc"),
        (" abc ", "abc"),
        ('"', None),
        ("", None),
        ("a b", None),
    ],
)
def test_an_idempotency_key_is_a_request_id_with_quotes_or_without(
    header: str | None, key: str | None
) -> None:
    made = request() if header is None else request(("idempotency-key", header))
    if key is not None or header is None:
        assert start_call.idempotency_key(made) == key
        return
    with pytest.raises(RequestError, match="Idempotency-Key is"):
        start_call.idempotency_key(made)


def test_a_body_and_a_key_with_different_ids_contradict_each_other() -> None:
    body = b'{"requestId": "a", "tag": "x"}'
    assert read(key="a", body=body).key == "a"
    assert refusal(key="b", body=body) == "invalid_request"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("respond-async", True),
        ("Respond-Async; wait=10", True),
        ("wait=10, respond-async", True),
        ("respond-asynchronously", False),
        ("", False),
    ],
)
def test_who_prefers_not_to_wait_says_so(value: str, wanted: bool) -> None:
    assert start_call.prefers_async(request(("prefer", value))) is wanted


@pytest.mark.parametrize(
    ("content_type", "body", "taken"),
    [
        ("application/json", "é".encode(), True),
        ("application/json; charset=UTF-8", "é".encode(), True),
        ('application/json; charset="utf-8"', "é".encode(), True),
        ("application/json; charset=iso-8859-1", b"{}", True),
        ("application/json; charset=iso-8859-1", "é".encode(), False),
        ("application/json; charset=utf-16", b"{}", False),
        ("application/json; boundary=x; CHARSET=latin1", b"{}", True),
        ("charset=utf-16", b"{}", True),
    ],
)
def test_a_charset_is_taken_where_the_bytes_are_the_same_in_utf_8(
    content_type: str, body: bytes, taken: bool
) -> None:
    if taken:
        assert read(("content-type", content_type), body=body).body == body
    else:
        assert refusal(("content-type", content_type), body=body) == "unsupported_media_type"


@pytest.mark.parametrize(
    ("value", "taken"), [("", True), ("identity", True), ("gzip", False), ("identity, gzip", False)]
)
def test_a_compressed_body_is_refused(value: str, taken: bool) -> None:
    if taken:
        assert read(("content-encoding", value)).body == b"{}"
    else:
        assert refusal(("content-encoding", value)) == "unsupported_media_type"


def test_a_body_may_be_as_long_as_allowed_however_it_comes() -> None:
    assert read(body=[b"x" * 60, b"x" * 40]).body == b"x" * 100
    assert refusal(body=[b"x" * 60, b"x" * 41]) == "too_large"
    assert refusal(("content-length", "101"), body=b"") == "too_large"


def test_a_body_that_ends_too_early_is_no_request() -> None:
    assert refusal(body=b'{"tag": ', cut=True) == "request_timeout"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"[]", "invalid_request"), (b"{", "invalid_json"), (b'{"cancel": "other"}', "invalid_request")],
)
def test_a_cancel_asks_for_what_its_path_says(body: bytes, code: str) -> None:
    def cancel(given: bytes, request_id: str = "old") -> StartCall:
        made = request(body=given, path={"request_id": request_id})
        return asyncio.run(start_call.read_cancel(made, None, 100))

    assert cancel(b"").body == cancel(b'{"cancel": "old"}').body == b'{"cancel": "old"}'
    with pytest.raises(RequestError) as caught:
        cancel(body)
    assert caught.value.code == code
    with pytest.raises(RequestError) as caught:
        cancel(b"", "no id")
    assert caught.value.code == "unknown_request"
