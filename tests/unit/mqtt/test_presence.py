"""Another daemon with our client id shows by its status or by the broker's reason, by nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.presence import Presence, Status, parse, session_taken_over
from butler_mqtt.settings import MqttSettings
from tests.unit.dates import STAMPS

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


@pytest.mark.parametrize("qrs", [None, "reachable", "unreachable"])
def test_a_status_survives_its_own_text(qrs: str | None) -> None:
    status = replace(OURS, qrs=qrs)
    assert parse(status.payload()) == status


@pytest.mark.parametrize("qrs", ["away", "", 5, None, ["unreachable"]])
def test_a_word_about_qrs_that_is_not_known_says_nothing(qrs: object) -> None:
    payload = json.loads(OURS.payload()) | {"qrs": qrs}
    assert parse(json.dumps(payload).encode()) == OURS


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


class Qrs:
    """A Qlik server that comes and goes, and the clock beside it."""

    def __init__(self) -> None:
        self.away = False
        self.now = 100.0

    def shown(self) -> Presence:
        return Presence(MqttSettings(), OURS, lambda: self.away, lambda: self.now)


@pytest.fixture
def client() -> paho.Client:
    """A client that is not connected; what it is given to publish is dropped."""
    return paho.Client(CallbackAPIVersion.VERSION2)


def test_a_qlik_server_that_comes_and_goes_is_told_every_five_seconds_at_most(client: paho.Client) -> None:
    qrs = Qrs()
    shown = qrs.shown()
    shown.prepare(client, shown=True)
    shown.publish_birth(client)
    told = []
    for moment in range(100, 120):
        qrs.now, qrs.away = float(moment), moment % 2 == 0
        if shown.refresh(client) is not None:
            told.append(moment)
    assert told == [100, 105, 110, 115]


def test_nothing_is_told_of_the_qlik_server_without_a_birth(client: paho.Client) -> None:
    qrs = Qrs()
    shown = qrs.shown()
    shown.prepare(client, shown=False)
    qrs.away = True
    assert shown.refresh(client) is None


def test_nothing_is_told_while_the_qlik_server_answers(client: paho.Client) -> None:
    shown = Qrs().shown()
    shown.prepare(client, shown=True)
    shown.publish_birth(client)
    assert shown.refresh(client) is None


@given(st.one_of(STAMPS, st.none(), st.integers(), st.lists(st.text())))
@example("9999-12-31T23:59:59-01:00")
@example("0001-01-01T00:00:00+01:00")
def test_any_start_time_in_a_status_message_is_a_time_or_the_message_is_none(stamp: object) -> None:
    read = parse(json.dumps({"status": "online", "instance": "x", "startedAt": stamp}).encode())
    if read is not None:
        assert read.started_at.tzinfo is UTC
        assert parse(read.payload()) == read
