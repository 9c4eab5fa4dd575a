"""Macros over lists and the keys of objects."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.values import EvaluationError
from tests.unit.expressions.evaluating import value

ROWS = [{"n": 1}, {"n": 5}, {"other": 1}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("[].exists(x, x)", False),
        ("[].all(x, x)", True),
        ("[].exists_one(x, x)", False),
        ("[].map(x, x)", []),
        ("payload.exists(row, row.n > 4)", True),
        ("payload.all(row, row.n > 4)", False),
        ("[1, 2, 2].exists_one(x, x == 2)", False),
        ("{'b': 1, 'a': 2}.filter(key, key > 'a')", ["b"]),
        ("{}.exists(key, true)", False),
        ("[1, 2].filter(x, x > 1).map(x, x * 2)", [4]),
        ("[[1], [2]].map(topic, topic[0])", [1, 2]),
    ],
)
def test_a_macro_has_this_value(expression: str, expected: object) -> None:
    assert value(expression, ROWS) == expected


def test_a_variable_of_a_macro_hides_another_one_only_inside_of_it() -> None:
    assert value("[1].map(count, count)[0] + count") == 4


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("payload.exists(row, row.n > 9)", "row.n is not there"),
        ("payload.all(row, row.n < 9)", "row.n is not there"),
        ("payload.filter(row, row.n > 0)", "row.n is not there"),
        ("[1].filter(x, x)", "neither true nor false"),
        ("[1].map(x, x, x)", "neither true nor false"),
        ("text.map(x, x)", "takes a list or an object"),
        ("null.exists(x, true)", "takes a list or an object"),
    ],
)
def test_an_element_that_decides_nothing_and_cannot_be_judged_is_an_error(
    expression: str, reason: str
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        value(expression, ROWS)
