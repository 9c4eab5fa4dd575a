"""Operators of expressions at the ends of what can be calculated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.expressions.operators import CALCULATIONS, RELATIONS
from butler_mqtt.expressions.values import Scope, ValueFault
from tests.unit.expressions.evaluating import value

LARGEST, SMALLEST = 2**63 - 1, -(2**63)
NUMBERS = st.integers() | st.floats()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("7.0 / 2", 3.5),
        ("1 + 0.5", 1.5),
        ("1 == 1.0", True),
        ("9007199254740993 == 9007199254740992.0", False),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("'a' < 'b' && 'Z' < 'a'", True),
        ("null == null", True),
        ("'a' in {'a': null}", True),
        ("1 in {'a': 1}", False),
    ],
)
def test_a_calculation_has_this_value(expression: str, expected: object) -> None:
    found = value(expression)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("sign", "one", "other"),
    [
        ("+", LARGEST, 1),
        ("-", SMALLEST, 1),
        ("*", LARGEST, LARGEST),
        ("/", SMALLEST, -1),
        ("*", 1e308, 10),
        ("+", 10**400, 0.5),
        ("/", 1, 0),
        ("/", 1.0, 0.0),
        ("%", 1, 0),
        ("%", 1.0, 1),
        ("+", True, 1),
        ("+", "a", 1),
        ("-", [], []),
        ("/", "a", 1),
    ],
)
def test_what_has_no_result_is_a_fault(sign: str, one: object, other: object) -> None:
    with pytest.raises(ValueFault):
        CALCULATIONS[sign](one, other, Scope({}))


@given(st.sampled_from(sorted(CALCULATIONS)), NUMBERS, NUMBERS)
def test_any_two_numbers_have_a_number_or_a_fault(sign: str, one: Any, other: Any) -> None:
    try:
        result = CALCULATIONS[sign](one, other, Scope({}))
    except ValueFault:
        return
    assert type(result) is float or SMALLEST <= result <= LARGEST


@given(NUMBERS, NUMBERS)
def test_of_two_numbers_one_relation_holds_unless_one_is_none(one: Any, other: Any) -> None:
    held = [sign for sign in ("<", "==", ">") if RELATIONS[sign](one, other, Scope({}))]
    assert len(held) == (1 if one == one and other == other else 0)  # noqa: PLR0124 -- NaN


def test_values_of_different_kinds_have_no_order() -> None:
    for one, other in (("a", 1), (True, 1), ([], []), (None, None)):
        with pytest.raises(ValueFault, match="is not possible"):
            RELATIONS["<"](one, other, Scope({}))
