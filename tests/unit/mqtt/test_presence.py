"""Another daemon with our client id shows by its status or by the broker's reason, by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.mqtt.connection import Ended
from butler_mqtt.mqtt.presence import Presence, Status, parse, session_taken_over
from butler_mqtt.settings import MqttSettings

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
OURS = Status("online", "ours", NOW, "1")
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(days=1)


def presence() -> Presence:
    return Presence(MqttSettings(), OURS)


def short(code: int | None = None) -> Ended:
    return Ended("closed", lasted=0.1, code=code)


def test_our_own_status_is_no_evidence() -> None:
    assert presence().evidence(OURS, retained=True) is None
    assert presence().evidence(OURS, retained=False) is None


@pytest.mark.parametrize("word", ["online", "offline"])
def test_a_retained_status_of_a_newer_daemon_is_evidence(word: str) -> None:
    assert "theirs" in str(presence().evidence(Status(word, "theirs", LATER, "1"), retained=True))


@pytest.mark.parametrize("word", ["online", "offline"])
def test_a_retained_status_of_a_predecessor_is_no_evidence(word: str) -> None:
    assert presence().evidence(Status(word, "theirs", EARLIER, "1"), retained=True) is None


def test_a_live_birth_of_another_daemon_is_evidence_whenever_it_began() -> None:
    assert presence().evidence(Status("online", "theirs", EARLIER, "1"), retained=False)


def test_a_late_will_of_a_predecessor_is_no_evidence() -> None:
    assert presence().evidence(Status("offline", "theirs", EARLIER, "1"), retained=False) is None


def test_the_reason_session_taken_over_is_evidence_at_once() -> None:
    assert session_taken_over(short(0x8E))


@pytest.mark.parametrize("code", [None, 0x87, 0x8B])
def test_silent_short_connections_however_many_are_no_evidence(code: int | None) -> None:
    assert [session_taken_over(short(code)) for _ in range(100)] == [None] * 100


def test_a_status_survives_its_own_text() -> None:
    assert parse(OURS.payload()) == OURS


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"online",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b'{"status": "online", "instance": "x", "startedAt": 7}',
        b'{"status": "online", "instance": "x", "startedAt": "2025-01-01T00:00:00"}',
        b"[" * 100_000,
    ],
)
def test_foreign_text_on_the_status_topic_is_no_status(payload: bytes) -> None:
    assert parse(payload) is None
