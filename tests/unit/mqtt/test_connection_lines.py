"""How loudly the log speaks of connections."""

from __future__ import annotations

import logging

import pytest

from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.connection_lines import ConnectionLines
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.settings import MqttSettings

REFUSED = Ended("not authorized", refused=True)
LOST = Ended("the connection was closed", lasted=5.0)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> ConnectionLines:
    caplog.set_level(logging.DEBUG)
    return ConnectionLines(MqttSettings(), "ours", Outages(), keep_session=True)


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records]


def test_a_refusal_is_an_error_once_and_again_after_another_end(
    lines: ConnectionLines, caplog: pytest.LogCaptureFixture
) -> None:
    for ended in (REFUSED, REFUSED, Ended("the will is refused", refused=True), REFUSED):
        lines.ended(ended)
    assert levels(caplog) == [logging.ERROR, logging.DEBUG, logging.ERROR, logging.ERROR]


def test_a_connection_that_is_lost_again_and_again_is_quiet_with_its_next_beginning(
    lines: ConnectionLines, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        lines.accepted(True)
        lines.ended(LOST)
    lines.accepted(True)
    assert levels(caplog) == [logging.INFO, logging.INFO, logging.INFO, logging.DEBUG, logging.DEBUG]
    assert lines.quiet


def test_the_session_is_named_where_the_broker_keeps_one(
    lines: ConnectionLines, caplog: pytest.LogCaptureFixture
) -> None:
    lines.accepted(False)
    ConnectionLines(MqttSettings(), "ours", Outages(), keep_session=False).accepted(False)
    assert [record.getMessage() for record in caplog.records] == [
        "Connected to localhost:1883 as ours, MQTT 5, new session",
        "Connected to localhost:1883 as ours, MQTT 5",
    ]
