"""Rules and messages for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from butler_mqtt.rules.message import RuleMessage
from butler_mqtt.rules.rule import Rule
from butler_mqtt.settings import RuleSettings

NOTHING: Mapping[str, str] = {}


def message(
    payload: str | bytes = "{}",
    topic: str = "erp/fin/orders/closed",
    properties: Mapping[str, str] = NOTHING,
) -> RuleMessage:
    """Return a message that came on 2026-11-30 at 15:08:30 UTC."""
    content = payload.encode() if isinstance(payload, str) else payload
    return RuleMessage(content, topic, properties, 1_796_051_310_000)


def rule(**settings: Any) -> Rule:
    """Return the rule `orders` with *settings*, that starts the tag `x` unless they say something else."""
    return Rule(RuleSettings(**{"name": "orders", "topics": ("erp/#",), "start": {"tag": "x"}} | settings))
