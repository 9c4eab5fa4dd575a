"""Sessions of the page: begun with a token, over with it, kept over a restart."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from butler_mqtt.http.page.page_sessions import LONGEST_MS, PageSessions
from butler_mqtt.settings import Token

BEGIN = 1_900_000_000_000


def token(name: str, role: str = "operator") -> Token:
    return Token(name, hashlib.sha256(name.encode()).hexdigest(), role)


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> PageSessions:
    known = [token("maria"), token("wall", "reader"), token("erp", "sender")]
    return PageSessions(tmp_path / "sessions", known, now=clock)


def test_a_session_has_the_role_that_its_token_has_now(sessions: PageSessions) -> None:
    secret = sessions.begin("maria")
    found = sessions.of(secret)
    assert found is not None
    assert (found.name, found.operates) == ("maria", True)
    sessions.reconfigured([token("maria", "reader")])
    found = sessions.of(secret)
    assert found is not None
    assert not found.operates
    sessions.reconfigured([token("maria", "sender")])
    assert sessions.of(secret) is None


@pytest.mark.parametrize("text", ["erp", "nobody", "", "\udcff"])
def test_a_token_without_such_a_role_begins_none(sessions: PageSessions, text: str) -> None:
    assert sessions.begin(text) is None


def test_a_session_lasts_eight_hours_at_most(sessions: PageSessions, clock: Clock) -> None:
    secret = sessions.begin("wall")
    clock.now = BEGIN + LONGEST_MS - 1
    assert sessions.of(secret) is not None
    clock.now += 1
    assert sessions.of(secret) is None


def test_a_session_ends_when_its_token_does(tmp_path: Path, clock: Clock) -> None:
    end = datetime.fromtimestamp(BEGIN / 1000 + 60, UTC)
    sessions = PageSessions(tmp_path / "sessions", [replace(token("maria"), expires_at=end)], now=clock)
    secret = sessions.begin("maria")
    assert sessions.of(secret) is not None
    clock.now += 60_000
    assert sessions.of(secret) is None
    assert sessions.begin("maria") is None


def test_another_token_of_the_same_name_ends_the_session(sessions: PageSessions) -> None:
    secret = sessions.begin("maria")
    sessions.reconfigured([replace(token("maria"), sha256="0" * 64)])
    assert sessions.of(secret) is None


def test_a_restart_keeps_sessions_and_their_secrets_are_nowhere(
    tmp_path: Path, sessions: PageSessions, clock: Clock
) -> None:
    secret, ended = sessions.begin("maria"), sessions.begin("wall")
    sessions.end(ended)
    again = PageSessions(tmp_path / "sessions", [token("maria"), token("wall", "reader")], now=clock)
    assert again.of(secret) == sessions.of(secret)
    assert again.of(ended) is None
    assert secret is not None
    assert secret not in (tmp_path / "sessions").read_text()
    assert (tmp_path / "sessions").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [1]}', "\x00"])
def test_a_file_that_cannot_be_read_signs_everybody_out(tmp_path: Path, text: str, clock: Clock) -> None:
    (tmp_path / "sessions").write_text(text)
    sessions = PageSessions(tmp_path / "sessions", [token("maria")], now=clock)
    assert sessions.of("a") is None
    assert sessions.of(sessions.begin("maria")) is not None


def test_where_nothing_can_be_written_sessions_last_as_long_as_the_daemon(
    tmp_path: Path, clock: Clock
) -> None:
    sessions = PageSessions(tmp_path / "none" / "sessions", [token("maria")], now=clock)
    assert sessions.of(sessions.begin("maria")) is not None


def test_each_session_has_forms_of_its_own(sessions: PageSessions) -> None:
    found = [sessions.of(sessions.begin("maria")) for _ in range(2)]
    assert len({one.csrf for one in found if one}) == 2
