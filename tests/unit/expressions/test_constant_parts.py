"""What of a rule's `start` is wrong whatever a message holds."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.constant_parts import condition_problem, problems, value_problem
from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.template import Template


def wrong(start: dict[str, object]) -> list[str]:
    return [one.message for one in problems(start, Template(start).filled)]


@pytest.mark.parametrize(
    "start",
    [
        {"tag": "daily"},
        {"tag": ["${{ payload.tag }}"]},
        {"taskId": "${{ payload.id }}"},
        {"taskName": "x ${{ payload.name }}", "dryRun": "${{ payload.dry }}"},
        {"customProperty": "${{ payload.pairs }}"},
        {"customProperty": [{"name": "a", "value": "${{ payload.b }}"}]},
        {"tag": "a", "parameters": {"sales": {"from": "${{ payload.from }}"}}},
        {"stages": [{"tag": "${{ payload.a }}"}, {"taskName": "b", "onFailure": "${{ payload.c }}"}]},
        {"tag": "a", "expiresAt": "${{ payload.until }}"},
    ],
    ids=str,
)
def test_what_a_message_may_make_right_is_no_problem(start: dict[str, object]) -> None:
    assert wrong(start) == []


@pytest.mark.parametrize(
    ("start", "word"),
    [
        ({}, "is empty"),
        ({"dryRun": True}, "no task"),
        ({"tga": "${{ payload.tag }}"}, "did you mean 'tag'"),
        ({"tag": "a", "replyTopic": "b"}, "has no place in a rule"),
        ({"tag": "a", "ifRunning": "wait"}, "'queue' or 'skip'"),
        ({"taskId": "abc"}, "must be a GUID"),
        ({"tag": "a", "dryRun": "x ${{ payload.dry }}"}, "must be a boolean"),
    ],
    ids=str,
)
def test_what_no_message_can_make_right_is_named(start: dict[str, object], word: str) -> None:
    found = wrong(start)
    assert found
    assert word in found[0] or word == "no task"


@pytest.mark.parametrize(
    ("condition", "offset", "problem"),
    [
        ("1 + 1", 0, "1 + 1 is a number, neither true nor false"),
        ('"a"', 0, '"a" is a text, neither true nor false'),
        ("null", 0, "null is null, neither true nor false"),
        ("[1, 2].map(x, x > 1)", 0, "[1, 2].map(x, x > 1) is a list, neither true nor false"),
        ('payload.a && "b"', 13, '"b" is a text, neither true nor false'),
        ("payload.a ? true : 5", 19, "5 is a number, neither true nor false"),
        ("1 / 0 > 1", 4, "never has a value: division by zero"),
    ],
)
def test_a_part_of_a_condition_that_no_message_makes_true_or_false_is_a_problem(
    condition: str, offset: int, problem: str
) -> None:
    assert condition_problem(Expression(condition)) == (problem, offset)


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "!false",
        "1 < 2 && payload.a",
        "[1, 2].exists(x, x > 1)",
        'text == "a" ? payload.a : 1 in [1]',
        "payload",
        "size(text)",
    ],
)
def test_a_condition_that_may_be_true_or_false_is_no_problem(condition: str) -> None:
    assert condition_problem(Expression(condition)) is None


def test_an_expression_that_has_a_value_for_no_message_is_a_problem() -> None:
    assert value_problem(Expression("2 + 1 / 0")) == ("never has a value: division by zero", 8)


@pytest.mark.parametrize("text", ["1 + 1", "payload / 0", '"a"'])
def test_an_expression_that_may_have_a_value_is_none(text: str) -> None:
    assert value_problem(Expression(text)) is None
