"""Why a condition is not true for a message."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.explanation import explain
from butler_mqtt.expressions.expression import Expression
from tests.unit.expressions.evaluating import variables

PAYLOAD = {"total": 5, "status": "open", "rows": [1, 2], "long": "x" * 100, "nested": {"a": 1}}


def explained(text: str, payload: object = PAYLOAD) -> list[str]:
    return explain(Expression(text), variables(payload))


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("payload.total == 5", []),
        ("payload.total > 9", ["payload.total > 9 is false: payload.total is 5"]),
        (
            "payload.total == 5 && payload.status == 'closed'",
            ["payload.status == 'closed' is false: payload.status is \"open\""],
        ),
        ("payload.total > 9 || payload.total == 5", []),
        ("payload.total", ["payload.total is 5, neither true nor false"]),
        (
            "payload.state == 'open'",
            ["payload.state == 'open' cannot be evaluated: payload.state is not there; payload has 'status'"],
        ),
        (
            "payload.nested.z",
            ["payload.nested.z cannot be evaluated: payload.nested.z is not there; payload.nested has a"],
        ),
        ("payload.rows.exists(x, x > 5)", ["payload.rows.exists(x, x > 5) is false: payload.rows is [1, 2]"]),
        ("has(payload.other)", ["has(payload.other) is false"]),
        ("!(payload.total == 5)", ["!(payload.total == 5) is false: payload.total is 5"]),
    ],
)
def test_each_part_that_is_not_true_is_told_with_what_it_reads(text: str, reasons: list[str]) -> None:
    assert explained(text) == reasons


def test_of_parts_joined_by_or_all_are_told() -> None:
    assert len(explained("payload.total > 9 || payload.total < 1")) == 2


def test_a_long_value_is_cut_and_one_without_end_is_only_named() -> None:
    (cut,) = explained("payload.long == ''")
    assert "…" in cut
    assert len(cut) < 120
    (named,) = explained("payload == 1", [["x" * 200_000]])
    assert named.endswith("payload is a long value")


def test_a_message_without_fields_is_told_so() -> None:
    assert explained("payload.a == 1", {}) == [
        "payload.a == 1 cannot be evaluated: payload.a is not there; payload has no field"
    ]
