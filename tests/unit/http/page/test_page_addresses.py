"""Under which addresses the page is served."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.page.page_addresses import PageAddresses

ADDRESSES = PageAddresses(["https://butler.example.com:8443", "https://plain.example.com:443"])


def call(host: str, origin: str | None = None, scheme: str = "http") -> HTTPConnection:
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    return HTTPConnection({"type": "http", "scheme": scheme, "path": "/ui/", "headers": headers})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", None),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "https://[::1]:8080"),
        ("butler.example.com:8443", "https://butler.example.com:8443"),
        ("BUTLER.example.com:8443", "https://butler.example.com:8443"),
        ("plain.example.com", "https://plain.example.com"),
        ("plain.example.com:443", "https://plain.example.com:443"),
    ],
)
def test_names_of_this_machine_and_those_configured_are_served(host: str, origin: str | None) -> None:
    ADDRESSES.check(call(host, origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example.com", None),
        ("butler.example.com", None),
        ("butler.example.com:8443.evil.example", None),
        ("", None),
        ("localhost:8080", "http://localhost:9090"),
        ("localhost:8080", "http://evil.example.com"),
        ("localhost:8080", "null"),
        ("butler.example.com:8443", "http://butler.example.com:8443"),
        ("butler.example.com:8443", "https://plain.example.com"),
    ],
)
def test_everything_else_is_refused(host: str, origin: str | None) -> None:
    with pytest.raises(HttpRefusal, match="forbidden"):
        ADDRESSES.check(call(host, origin))


def test_two_hosts_are_none() -> None:
    twice = HTTPConnection({"type": "http", "headers": [(b"host", b"localhost"), (b"host", b"localhost")]})
    with pytest.raises(HttpRefusal):
        ADDRESSES.check(twice)


@pytest.mark.parametrize(
    ("host", "scheme", "secure"),
    [
        ("localhost", "http", False),
        ("localhost", "https", True),
        ("butler.example.com:8443", "http", True),
    ],
    ids=["plain", "TLS here", "TLS at a proxy"],
)
def test_a_cookie_is_for_https_where_the_browser_has_it(host: str, scheme: str, secure: bool) -> None:
    assert ADDRESSES.is_secure(call(host, scheme=scheme)) is secure
