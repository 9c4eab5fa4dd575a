"""Why a broker does not accept a connection, and what to change."""

from __future__ import annotations

import pytest

from butler_mqtt.mqtt.refusals import NOT_AUTHORIZED, UNSUPPORTED_VERSION, advice, unanswered
from butler_mqtt.settings import MqttSettings


@pytest.mark.parametrize(
    ("code", "will", "words"),
    [
        (UNSUPPORTED_VERSION, None, ["set mqttConfig.protocolVersion: 3.1.1"]),
        (0x86, None, ["check mqttConfig.username"]),
        (0x90, "status", ["publish to status"]),
        (NOT_AUTHORIZED, "status", ["check mqttConfig.username", "publish to status", "shows which it is"]),
        (NOT_AUTHORIZED, None, ["check mqttConfig.username"]),
        (0x88, "status", []),
    ],
)
def test_advice_names_what_can_be_the_cause(code: int, will: str | None, words: list[str]) -> None:
    found = advice(code, MqttSettings(), will)
    assert bool(found) is bool(words)
    assert all(word in found for word in words)
    assert ("shows which it is" in found) is (len(words) > 1)


def test_a_broker_that_says_nothing_may_speak_the_other_version() -> None:
    assert "protocolVersion: 5" in unanswered(MqttSettings(protocol_version="3.1.1"))
