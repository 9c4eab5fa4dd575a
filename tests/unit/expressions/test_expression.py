"""One expression: checked once, evaluated for many messages."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import EvaluationError, Scope
from tests.unit.expressions.evaluating import value, variables


def condition(text: str) -> bool:
    return Expression(text).condition(Scope(variables({"a": 1, "flag": True})))


def test_a_condition_is_true_or_false_and_nothing_that_looks_like_it() -> None:
    assert condition("payload.flag")
    assert not condition("payload.a > 1")
    for text in ("payload.a", "'true'", "1", "null", "[true]"):
        with pytest.raises(EvaluationError, match="neither true nor false"):
            condition(text)


def test_too_many_steps_are_an_error_of_the_message_and_not_of_ours() -> None:
    with pytest.raises(EvaluationError, match="more steps than a rule may"):
        value("payload.map(x, x + 1)", list(range(100)), steps=50)
    with pytest.raises(EvaluationError, match="more steps than a rule may"):
        value("payload.map(x, x + 1) == [] || true", list(range(100)), steps=50)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("payload.a", 0),
        ("count > 1 && payload.a.b", 13),
        ("payload['a']", 0),
        ("has(payload.a)", 0),
        ("payload == 1", None),
        ("text.size() > 0", None),
    ],
)
def test_it_is_known_where_a_field_of_a_variable_is_taken(text: str, place: int | None) -> None:
    assert Expression(text).field_of("payload") == place


def test_one_expression_is_the_same_for_each_message() -> None:
    expression = Expression("payload.map(x, x * count)")
    assert [expression.evaluate(Scope(variables([number]))) for number in (1, 2, 1)] == [[3], [6], [3]]
