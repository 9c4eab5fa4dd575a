"""A broker that goes and comes back: what the log says of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import doorkeeper


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
