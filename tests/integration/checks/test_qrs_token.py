"""The lines about a login at the Qlik proxy: the token's days, its claims, its refusal."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.checks import qlik, qrs_token
from butler_mqtt.checks.finding import Finding, State
from tests.brokers import free_port
from tests.integration.checks.site_and_broker import bad, by_name, proxy_settings
from tests.integration.simulator.running import Client

USER = {"userId": "butler", "userDirectory": "LAB"}
DAY = 86400


def token(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{part}.c2ln\n"


def judged(folder: Path, claims: object) -> list[Finding]:
    (folder / "butler.jwt").write_text(token(claims))
    return list(qrs_token.check(folder / "butler.jwt"))


@pytest.mark.parametrize(
    ("claims", "state", "words"),
    [
        ({"exp": 400 * DAY}, State.OK, "is valid for 399 more days"),
        ({"exp": 3 * DAY}, State.WARNING, "expires in 2 days"),
        ({"exp": DAY / 2}, State.WARNING, "expires in less than a day"),
        ({"exp": -DAY}, State.WRONG, "expired on 20"),
        ({"nbf": DAY, "exp": 90 * DAY}, State.WRONG, "is not valid before 20"),
        ({}, State.WARNING, "has no claim exp"),
        ({"exp": "soon"}, State.WARNING, "has no claim exp"),
    ],
)
def test_the_days_of_a_token_are_judged(
    claims: dict[str, Any], state: State, words: str, tmp_path: Path
) -> None:
    moments = {name: time.time() + value if value != "soon" else value for name, value in claims.items()}
    (finding,) = judged(tmp_path, USER | moments)
    assert (finding.state, words in finding.text) == (state, True), finding


def test_claims_that_name_no_user_are_a_warning_that_shows_those_that_are_there(tmp_path: Path) -> None:
    _, finding = judged(tmp_path, {"user": "butler", "USERDIRECTORY": "LAB", "exp": time.time() + 99 * DAY})
    assert finding.state is State.WARNING
    assert "has no claim userId; it has user, USERDIRECTORY, exp" in finding.text


@pytest.mark.parametrize("content", ["", "abc", "a.b.c", token([1]), "a.bnVsbA.c"], ids=repr)
def test_a_file_without_a_token_is_wrong(content: str, tmp_path: Path) -> None:
    (tmp_path / "butler.jwt").write_text(content)
    (finding,) = qrs_token.check(tmp_path / "butler.jwt")
    assert finding.state is State.WRONG


def test_nothing_is_wrong_behind_a_good_proxy_and_one_session_does(site: Client) -> None:
    before = site.admin("GET", "/proxy")["opened"]
    found = list(qlik.check(proxy_settings(site.simulator, site.simulator.certs / "butler.jwt")))
    assert bad(found) == {}
    assert "8 tasks" in by_name(found)["qlik.tasks"].text
    assert site.admin("GET", "/proxy")["opened"] == before + 1


def test_a_token_that_the_proxy_refuses_is_wrong(site: Client, tmp_path: Path) -> None:
    (tmp_path / "butler.jwt").write_text(token(USER | {"exp": time.time() + 99 * DAY}))
    found = list(qlik.check(proxy_settings(site.simulator, tmp_path / "butler.jwt")))
    assert bad(found) == {"qlik.connection": State.WRONG}
    assert "the proxy refuses the token" in by_name(found)["qlik.connection"].text


def test_a_proxy_that_is_away_is_unreached(site: Client) -> None:
    settings = proxy_settings(site.simulator, site.simulator.certs / "butler.jwt")
    found = list(qlik.check(replace(settings, qrs=replace(settings.qrs, port=free_port()))))
    assert bad(found) == {"qlik.connection": State.UNREACHABLE}
