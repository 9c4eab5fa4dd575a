"""What a foreign page makes a browser send is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from butler_mqtt.errors import RequestError
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.origins import (
    content_length,
    names_loopback,
    refuse_foreign_host,
    refuse_foreign_origin,
    refuse_long_body,
)


def call(*headers: tuple[str, str]) -> HTTPConnection:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return HTTPConnection({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("LOCALHOST.:8081", True),
        ("a.localhost", True),
        ("127.0.0.1:80", True),
        ("127.255.0.9", True),
        ("[::1]:8081", True),
        ("::1", False),
        ("localhost.evil.test", False),
        ("127.0.0.1.evil.test", False),
        ("evil.test:127.0.0.1", False),
        ("127.1", False),
        ("10.0.0.1", False),
        ("[::ffff:10.0.0.1]", False),
        ("localhost:80:80", False),
        ("localhost:999999", False),
        ("user@localhost", False),
        ("localhost/", False),
        (" localhost", False),
        ("", False),
    ],
)
def test_only_names_of_this_machine_alone_are_served(host: str, ours: bool) -> None:
    assert names_loopback(host) is ours


def test_of_several_hosts_each_must_be_ours_and_none_is_no_browser() -> None:
    refuse_foreign_host(call())
    refuse_foreign_host(call(("host", "localhost")))
    with pytest.raises(HttpRefusal, match="evil"):
        refuse_foreign_host(call(("host", "localhost"), ("host", "evil.test")))


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        ("http://localhost:8081", False),
        ("https://LOCALHOST:8081", False),
        ("http://localhost", True),
        ("http://evil.test", True),
        ("null", True),
        ("localhost:8081", True),
        ("", True),
    ],
)
def test_a_page_of_another_site_is_refused(origin: str, foreign: bool) -> None:
    request = call(("host", "localhost:8081"), ("origin", origin))
    if not foreign:
        refuse_foreign_origin(request)
        return
    with pytest.raises(HttpRefusal) as caught:
        refuse_foreign_origin(request)
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), ("7", 7), ("007", 7), ("000", 0), ("-1", 0), ("1e3", 0), ("²", 0), ("1" * 5000, int("1" * 20))],
    ids=["none", "one", "zeros before", "zeros", "negative", "exponent", "superscript", "huge"],
)
def test_any_content_length_is_a_number(text: str, length: int) -> None:
    assert content_length(call(("content-length", text))) == length


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_no_content_length_and_no_host_is_a_fault_of_ours(text: str) -> None:
    assert content_length(call(("content-length", text))) >= 0
    assert names_loopback(text) in {True, False}


def test_a_body_may_be_as_long_as_allowed_and_not_longer() -> None:
    refuse_long_body(call(("content-length", "10")), 10)
    with pytest.raises(RequestError, match="11 bytes, 10 are allowed"):
        refuse_long_body(call(("content-length", "11")), 10)
