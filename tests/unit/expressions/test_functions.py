"""Functions of expressions at the ends of what they take."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.expressions.values import EvaluationError
from tests.unit.expressions.evaluating import value


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1 h", "h", "1d", "1.5.5s", "+1s", "1s!", "1e3s", "999999999999h", "1s" * 60],
    ids=lambda text: text[:12] or "empty",
)
def test_what_is_no_duration_is_refused_and_never_taken_in_part(text: str) -> None:
    with pytest.raises(EvaluationError, match="duration"):
        value(f"duration('{text}')")


@given(st.timedeltas(timedelta(-9999), timedelta(9999)))
def test_the_text_of_a_duration_is_read_as_the_same_duration(duration: timedelta) -> None:
    assert value("duration(string(payload.it)) == payload.it", {"it": duration}) is True


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("int('-0')", 0),
        ("int('9223372036854775807')", 2**63 - 1),
        ("int(-1.9)", -1),
        ("int(true)", 1),
        ("bool('TRUE')", True),
        ("'Straße ÄÖ az'.upperAscii()", "STRAßE ÄÖ AZ"),
        ("'ab'.split('')", ["a", "b"]),
        ("''.split('')", [""]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("'a'.split(',', 0)", []),
        ("'ab'.replace('', '-')", "-a-b-"),
        ("'ab'.charAt(2)", ""),
        ("'😀x'.substring(1)", "x"),
        ("timestamp('2031-02-01T00:30:00Z').getMonth('-01:00')", 0),
        ("timestamp('2031-01-31T08:00:00.123456789Z').getMilliseconds()", 123),
        ("timestamp('2031-03-30T01:30:00Z').getHours('Europe/Berlin')", 3),
        ("duration('-90s').getMinutes()", -1),
        ("timestamp('2031-01-05T00:00:00Z').getDayOfWeek()", 0),
    ],
)
def test_a_function_has_this_value(expression: str, expected: object) -> None:
    found = value(expression)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("int('9223372036854775808')", "too large"),
        ("int('1_000')", "no integer of the text '1_000'"),
        ("int('٣')", "no integer"),
        ("double('1e999')", "too large"),
        ("double('nan')", "no number"),
        ("bool('yes')", "neither true nor false"),
        ("timestamp('2031-02-29T00:00:00Z')", "no time"),
        ("timestamp('2031-01-31')", "no time"),
        ("timestamp(99999999999999)", "no time"),
        ("timestamp('9999-12-31T23:59:59Z').getHours('+14:00')", "outside the years"),
        ("timestamp('0001-01-01T00:00:00Z').getHours('America/New_York')", "outside the years"),
        ("'ab'.charAt(3)", "position from 0 to 2"),
        ("'ab'.substring(2, 1)", "end that is not before"),
        ("size(5)", "takes a text, a list or an object"),
    ],
)
def test_what_a_function_does_not_take_is_named(expression: str, reason: str) -> None:
    with pytest.raises(EvaluationError, match=reason):
        value(expression)
