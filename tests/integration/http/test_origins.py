"""What a page in a browser may not do: DNS rebinding (`Host`), other sites (`Origin`), on either listener."""

from __future__ import annotations

import pytest
import requests

from butler_mqtt.settings import MonitoringSettings, RestSettings
from tests.integration.http.rest_listener import BOTH, door, monitoring_door
from tests.integration.http.test_guard import GUARDED

OURS = ["localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.8.9.10", "[::1]"]
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "10.0.0.1",
    "0.0.0.0",  # noqa: S104 -- a header, not a socket
    "[::]",
    "[fe80::1]",
    "2130706433",
    "127.1",
    "",
    "[",
    "[::1",
    "::1",
    "localhost@evil.example",
    "localhost, evil.example",
    "localhost/evil",
    "localhost evil",
    "local\xe4host",
    "localhost:8080:8080",
    "localhost:http",
]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("port", ["", ":", ":80", ":8080"])
def test_names_of_this_machine_alone_are_served_with_any_port(kind: str, host: str, port: str) -> None:
    with BOTH[kind]() as one:
        assert requests.get(f"{one.url}/metrics", headers={"Host": host + port}, timeout=10).ok


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nothing"])
def test_without_tokens_another_name_is_refused(kind: str, host: str, path: str) -> None:
    with BOTH[kind]() as one:
        ended = one.hostile.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        assert (ended.status, ended.body["code"]) == (403, "forbidden")


def test_a_page_that_rebinds_its_name_to_this_machine_starts_nothing() -> None:
    with door() as one:
        rebound = {"Host": f"evil.example:{one.port}", "Origin": f"http://evil.example:{one.port}"}
        answer = requests.post(one.start, json={"tag": "x"}, headers=rebound, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "localhost, 127.0.0.1 and [::1]" in answer.json()["details"]
        array = [{"type": "starttasktag", "payload": {"tag": "x"}}]
        answer = requests.post(one.start, json=array, headers=rebound, timeout=10)
        assert set(answer.json()) == {"error", "details", "code"}
        assert one.pipeline.arrivals == []
        assert one.pipeline.refusals == ["forbidden", "forbidden"]


@pytest.mark.parametrize("kind", BOTH)
def test_one_foreign_name_among_two_is_refused(kind: str) -> None:
    with BOTH[kind]() as one:
        ended = one.hostile.send(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        assert ended.status == 403


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://[", "http://", "", "[", "http://localhost:1", "\xff"]
)
def test_what_a_page_of_another_site_asks_is_refused(kind: str, method: str, origin: str) -> None:
    with BOTH[kind]() as one:
        path = "/v4/reloadtask/start" if method == "POST" else "/metrics"
        ended = one.hostile.send(
            f"{method} {path} HTTP/1.1\r\nHost: localhost:{one.port}\r\n".encode(),
            b"Origin: " + origin.encode("latin-1") + b"\r\nContent-Type: text/plain\r\n",
            b'Connection: close\r\nContent-Length: 12\r\n\r\n{"tag": "x"}',
        )
        assert (ended.status, ended.body["code"]) == (403, "forbidden")
        assert one.pipeline.arrivals == []


def test_one_foreign_site_among_two_is_refused() -> None:
    with door() as one:
        ended = one.hostile.send(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n",
            b"Origin: http://evil.example\r\nConnection: close\r\n\r\n",
        )
        assert ended.status == 403


def test_our_own_page_may_ask() -> None:
    with door() as one:
        assert requests.post(one.start, json={"tag": "x"}, headers={"Origin": one.url}, timeout=10).ok


def test_a_bearer_token_does_for_every_name_and_site() -> None:
    headers = {
        "Host": "butler.example.com",
        "Origin": "https://portal.example.com",
        "Authorization": "Bearer secret-1",
    }
    with door(GUARDED) as one:
        assert requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10).ok


def test_where_no_token_is_asked_for_one_does_for_no_other_site() -> None:
    headers = {"Origin": "https://portal.example.com", "Authorization": "Bearer anything"}
    with door() as one:
        assert requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10).status_code == 403


def test_where_tokens_are_asked_for_every_name_is_served_and_no_other_site() -> None:
    with door(GUARDED) as one:
        assert requests.get(f"{one.url}/healthz", headers={"Host": "a.example"}, timeout=10).ok
        headers = {"Host": "a.example", "Origin": "http://b.example"}
        assert requests.get(f"{one.url}/healthz", headers=headers, timeout=10).status_code == 403


def test_beyond_loopback_without_tokens_every_name_is_served_and_no_other_site() -> None:
    settings = RestSettings(server_host="0.0.0.0", allow_unauthenticated=True, rest_wait_seconds=5)  # noqa: S104 -- bound to loopback here
    with door(settings) as one:
        name = {"Host": "butler.example.com"}
        assert requests.post(one.start, json={"tag": "x"}, headers=name, timeout=10).ok
        other = {**name, "Origin": "https://evil.example"}
        assert requests.post(one.start, json={"tag": "x"}, headers=other, timeout=10).status_code == 403
    with monitoring_door(MonitoringSettings(host="0.0.0.0")) as one:  # noqa: S104 -- bound to loopback here
        assert requests.get(f"{one.url}/metrics", headers=name, timeout=10).ok
        assert requests.get(f"{one.url}/metrics", headers=other, timeout=10).status_code == 403
