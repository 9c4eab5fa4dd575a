"""A message's values, and what expressions make of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import MAX_STEPS, Scope

RECEIVED = datetime(2026, 11, 30, 15, 8, 30, 910_123, tzinfo=UTC)


def variables(payload: object = None, text: str = "") -> dict[str, Any]:
    """Return what an expression sees of a message that holds *payload*."""
    return {
        "payload": payload,
        "text": text,
        "topic": "erp/fin/orders/closed",
        "levels": ["erp", "fin", "orders", "closed"],
        "properties": {"company": "fin"},
        "received": RECEIVED,
        "count": 3,
    }


def value(expression: str, payload: object = None, text: str = "", steps: int = MAX_STEPS) -> Any:
    """Return the value of *expression* for a message."""
    return Expression(expression).evaluate(Scope(variables(payload, text), steps))
