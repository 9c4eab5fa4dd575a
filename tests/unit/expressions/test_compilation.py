"""What of an expression is refused when it is read, and what when it is evaluated."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.values import EvaluationError
from tests.unit.expressions.evaluating import value


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        ("1 + paylod.x", "did you mean payload?", 4),
        ("x > 1", "there is no variable 'x'; known: ", 0),
        ("text.matchs('a')", "did you mean matches()?", 5),
        ("contains(text, 'a')", "stands behind its value", 0),
        ("text.string()", "takes its value in the brackets", 5),
        ("text.contains()", "takes 1 in its brackets, not 0", 5),
        ("text.matches(topic)", "takes a constant text here", 13),
        ("text.matches('(')", "no regular expression that RE2 knows", 13),
        ("received.getHours('Mars')", "no time zone that this machine knows", 18),
        ("topic.first", "topic is a text and has no field 'first'", 0),
        ("{topic: 1}", "a key of an object is a constant text", 1),
        ("[1].exists(x.y, true)", "is a name for each element", 11),
        ("[1].exists(x)", "takes a variable and what is done with it", 4),
        ("1e400 > 1", "1e400 is too large a number", 0),
        ("-1e400 < 1", "too large", 0),
    ],
)
def test_what_holds_for_every_message_is_refused_at_once_with_its_place(
    text: str, reason: str, offset: int
) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert reason in caught.value.message
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("payload.b", "payload.b is not there"),
        ("payload.a.b", "payload.a is a number and has no field 'b'"),
        ("payload['b']", "payload['b'] is not there"),
        ("payload.list[2]", "payload.list[2] is not there: payload.list has 2 elements"),
        ("payload.list[-1]", "is not there"),
        ("payload.list[0.5]", "has no element of a number"),
        ("payload.list['0']", "has no element of a text"),
        ("payload.list[true]", "has no element of true or false"),
        ("payload.a ? 1 : 2", "payload.a is a number, neither true nor false"),
        ("!payload.a", "which `!` does not take"),
        ("-payload.list", "which `-` does not take"),
        ("payload.a && payload.b", "payload.a is a number, neither true nor false"),
    ],
)
def test_what_a_message_does_not_have_is_named(text: str, reason: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value(text, {"a": 1, "list": [1, 2]})
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payload.b == 1 || true", True),
        ("payload.b == 1 && false", False),
        ("true || payload.b", True),
        ("has(payload.b) || has(payload.a)", True),
        ("true ? 1 : payload.b", 1),
        ("payload.list[1.0]", 2),
        ("1 + 2 * 3 - 4 / 2", 5),
        ("!(payload.a == 1) == false", True),
    ],
)
def test_a_part_that_does_not_count_may_be_missing(text: str, expected: object) -> None:
    assert value(text, {"a": 1, "list": [1, 2]}) == expected
