"""Which tokens are known, and what a listener without its last one says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.responses import Response

from butler_mqtt.http.guard import Guard, has_expired, known_token
from butler_mqtt.http.rate_limit import RateLimit
from butler_mqtt.http.refused_calls import RefusedCalls
from butler_mqtt.settings import RestSettings, RestTls, Token


def token(name: str, secret: str) -> Token:
    return Token(name, hashlib.sha256(secret.encode()).hexdigest())


KNOWN = (token("erp", "secret-1"), token("gateway", "secret-2"))


@pytest.mark.parametrize(
    ("secret", "name"), [("secret-1", "erp"), ("secret-2", "gateway"), ("secret-3", None), ("", None)]
)
def test_a_token_is_known_by_its_hash(secret: str, name: str | None) -> None:
    found = known_token(secret, KNOWN)
    assert (found.name if found else None) == name


def test_where_client_certificates_count_they_alone_get_in_without_tokens(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    rest = RestSettings(tls=RestTls(enable=True, ca=tmp_path), tokens=KNOWN)
    guard = Guard(Response("open"), rest, RateLimit(), lambda _code: None, RefusedCalls())
    guard.reconfigured(replace(rest, tokens=()))
    assert "only client certificates get in" in caplog.text


def test_a_token_is_over_from_its_last_moment_on() -> None:
    one = replace(KNOWN[0], expires_at=datetime(2031, 1, 31, 8, tzinfo=UTC))
    end = 1_927_612_800_000
    assert [has_expired(one, now) for now in (end - 1, end)] == [False, True]
    assert not has_expired(KNOWN[0], end)
