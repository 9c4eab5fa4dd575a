"""A broker that goes and comes back: what the log says of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import doorkeeper
from tests.scripted_broker import ScriptedBroker


def test_a_broker_out_of_reach_is_one_warning_and_its_return_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def levels(action: str) -> list[int]:
        return [one.levelno for one in caplog.records if getattr(one, "action", "") == action]

    caplog.set_level(logging.DEBUG, "butler_mqtt")
    with (
        Mosquitto(tmp_path / "broker") as broker,
        doorkeeper(broker.settings(), max_backoff_seconds=0.25) as keeper,
    ):
        keeper.open()
        broker.stop()
        until(lambda: len(levels("mqtt_unreachable")) >= 5, what="five attempts")
        broker.start()
        keeper.wait_ready()
    attempts = levels("mqtt_unreachable")
    assert attempts == [logging.WARNING] + [logging.DEBUG] * (len(attempts) - 1)
    back = [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "mqtt_connected"]
    assert len(back) == 2
    assert "the broker was not reached for" in back[1]


def test_a_broker_that_hangs_up_again_and_again_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    def levels(action: str) -> list[str]:
        return [one.levelname for one in caplog.records if getattr(one, "action", "") == action]

    def more(action: str, number: int) -> None:
        until(lambda: len(levels(action)) > number, what=f"{action} {number}")

    caplog.set_level(logging.DEBUG, "butler_mqtt")
    with ScriptedBroker() as broker, doorkeeper(broker.settings(), max_backoff_seconds=0.05) as keeper:
        keeper.open()
        for number in range(5):
            more("mqtt_subscribed", number)
            broker.hang_up()
            more("mqtt_lost", number)
    assert levels("mqtt_lost") == ["INFO"] + ["DEBUG"] * 4
    for action in ("mqtt_connected", "mqtt_subscribed"):
        assert levels(action)[:5] == ["INFO"] * 2 + ["DEBUG"] * 3
