"""Which tokens are known, and what a listener without its last one says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import Response

from butler_mqtt.http.guard import Guard, known_token
from butler_mqtt.http.rate_limit import RateLimit
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
    guard = Guard(Response("open"), rest, RateLimit(), lambda _code: None)
    guard.reconfigured(replace(rest, tokens=()))
    assert "only client certificates get in" in caplog.text
