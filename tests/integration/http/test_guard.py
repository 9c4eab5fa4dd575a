"""Tokens, pages of other sites and the rate limit, over HTTP."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests

from butler_mqtt import clock
from butler_mqtt.http.rate_limit import RateLimit
from butler_mqtt.settings import RestSettings, Token
from tests.integration.http.rest_listener import Door, door


def token(name: str, secret: str) -> Token:
    return Token(name, hashlib.sha256(secret.encode()).hexdigest())


KNOWN = (token("erp", "secret-1"), token("gateway", "secret-2"))
GUARDED = RestSettings(tokens=KNOWN, rest_wait_seconds=5)


def test_the_name_of_the_token_goes_with_the_request() -> None:
    with door(GUARDED) as one:
        answer = requests.post(
            one.start, json={"tag": "x"}, headers={"Authorization": "bearer secret-2"}, timeout=10
        )
        assert answer.status_code == 200
        assert one.pipeline.arrivals[0].principal == "gateway"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer wrong",
        "Bearer",
        "secret-1",
        "Basic " + base64.b64encode(b"x:secret-1").decode(),
        "Bearer \xe4",
    ],
)
def test_without_a_known_token_nothing_reaches_the_pipeline(header: str | None) -> None:
    with door(GUARDED) as one:
        headers = {} if header is None else {"Authorization": header.encode("latin-1")}
        answer = requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10)
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="butler-mqtt"'
        assert one.pipeline.arrivals == []
        assert one.pipeline.refusals == ["unauthorized"]
        assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics", "/v4/requests/x", "/nothing"])
def test_every_page_but_health_and_readiness_needs_a_token(path: str) -> None:
    with door(GUARDED) as one:
        assert requests.get(one.url + path, timeout=10).status_code == 401
        assert requests.get(one.url + "/healthz", timeout=10).status_code == 200
        assert requests.get(one.url + "/readyz", timeout=10).status_code == 200


def test_a_browser_may_read_the_pages_with_the_token_as_password() -> None:
    with door(GUARDED) as one:
        refused = requests.get(one.url + "/docs", timeout=10)
        assert refused.raw.headers.getlist("WWW-Authenticate") == [
            'Bearer realm="butler-mqtt"',
            'Basic realm="butler-mqtt, token as password"',
        ]
        assert requests.get(one.url + "/docs", auth=("anybody", "secret-1"), timeout=10).status_code == 200
        assert requests.get(one.url + "/docs", auth=("secret-1", ""), timeout=10).status_code == 401


def test_a_page_of_another_site_cannot_start_tasks_through_a_browser() -> None:
    with door() as one:
        headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        answer = requests.post(one.start, data=b'{"tag": "x"}', headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert one.pipeline.arrivals == []
        assert requests.post(one.start, json={"tag": "x"}, headers={"Origin": one.url}, timeout=10).ok
        assert "Access-Control-Allow-Origin" not in answer.headers


def status(one: Door, secret: str | None = None) -> int:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return requests.get(f"{one.url}/metrics", headers=headers, timeout=10).status_code


def test_the_last_token_taken_away_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with door(GUARDED) as one:
        assert (status(one), status(one, "secret-1")) == (401, 200)
        one.guard.reconfigured(replace(GUARDED, tokens=()))
        assert (status(one), status(one, "secret-1")) == (401, 401)
        assert "the REST door stays closed, nobody gets in; add a token and reload" in caplog.text
        one.guard.reconfigured(replace(GUARDED, tokens=()))
        assert caplog.text.count("stays closed") == 1
        one.guard.reconfigured(GUARDED)
        assert (status(one), status(one, "secret-1")) == (401, 200)


def test_the_first_token_closes_the_door_at_once_and_for_good() -> None:
    with door() as one:
        assert status(one) == 200
        one.guard.reconfigured(GUARDED)
        assert (status(one), status(one, "secret-2")) == (401, 200)
        one.guard.reconfigured(RestSettings())
        assert status(one) == 401


def test_a_caller_beyond_its_rate_gets_429_and_when_to_come_back() -> None:
    with door(GUARDED, limit=RateLimit(rate=0.001, burst=2)) as one:
        headers = {"Authorization": "Bearer secret-1"}
        statuses = [
            requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10).status_code
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        answer = requests.post(one.start, json={"tag": "x"}, headers=headers, timeout=10)
        assert answer.json()["code"] == "rate_limited"
        assert int(answer.headers["Retry-After"]) > 0
        other = {"Authorization": "Bearer secret-2"}
        assert requests.post(one.start, json={"tag": "x"}, headers=other, timeout=10).status_code == 200


def test_who_guesses_tokens_is_slowed_down_and_callers_with_a_token_are_not() -> None:
    with door(GUARDED, limit=RateLimit(rate=0.001, burst=2)) as one:
        assert [status(one, f"guess-{number}") for number in range(3)] == [401, 401, 429]
        assert status(one, "secret-1") == 200


def test_a_token_that_has_expired_is_unauthorized_and_one_that_will_is_not() -> None:
    over = replace(KNOWN[0], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    ahead = replace(KNOWN[1], expires_at=datetime.now(UTC) + timedelta(hours=1), role="operator")
    with door(replace(GUARDED, tokens=(over, ahead))) as one:

        def ask(secret: str) -> requests.Response:
            return requests.post(
                one.start, json={}, headers={"Authorization": f"Bearer {secret}"}, timeout=10
            )

        answer = ask("secret-1")
        assert (answer.status_code, answer.json()["details"]) == (401, "the token has expired")
        assert ask("secret-2").status_code == 200
        assert [(one.principal, one.role) for one in one.pipeline.arrivals] == [("gateway", "operator")]


def test_a_machine_s_clock_that_is_set_back_makes_no_token_good_again() -> None:
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    ahead = timedelta(hours=2)
    clock.STEADY.restart(lambda: round((datetime.now(UTC) + ahead).timestamp() * 1000))
    with door(replace(GUARDED, tokens=(replace(KNOWN[0], expires_at=ends_at),))) as one:
        ahead = timedelta(0)
        headers = {"Authorization": "Bearer secret-1"}
        answer = requests.post(one.start, json={}, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["details"]) == (401, "the token has expired")


def test_a_request_of_too_many_says_when_the_next_is_taken() -> None:
    with door(GUARDED) as one:
        one.pipeline.answer = {"error": "x", "details": "y", "code": "rate_limited", "retryAfterSeconds": 17}
        headers = {"Authorization": "Bearer secret-1"}
        answer = requests.post(one.start, json={}, headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "17")
