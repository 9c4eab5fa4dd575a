"""Expressions that are refused when they are read, each with its place."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.parser import MAX_BYTES, MAX_DEPTH, ExpressionError


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("payload.a = 1", 11, "`=` is no operator of CEL; write `==`"),
        ("payload.a and true", 11, "`and` is no operator of CEL; write `&&`"),
        ("not payload.a", 1, "`not` is no operator of CEL; write `!`"),
        ("payload.a &&", 13, "ends too early: something is missing at the end"),
        ("(1 + 2", 7, "ends too early: something is missing at the end"),
        ("1 2", 3, "'2' is not expected here"),
        ('"abc', 1, 'a text begins with " here and does not end in this line'),
        ("payload.größe", 11, "'ö' cannot stand here; a field with such a name is written payload[\"…\"]"),
        ("", 1, "is empty"),
        ("  ", 1, "is empty"),
        ("true && paylod.a", 9, "there is no variable 'paylod'; did you mean payload?"),
        ("secret", 1, "there is no variable 'secret'; known: count, levels, payload,"),
        ("payload.a.lower()", 11, "there is no function 'lower()'; did you mean"),
        ("upper(payload.a)", 1, "there is no function 'upper()'; did you mean"),
        ("contains(payload.a, 'x')", 1, "contains() stands behind its value: value.contains(…)"),
        ("payload.a.string()", 11, "string() takes its value in the brackets: string(…)"),
        ("payload.a.contains()", 11, "contains() takes 1 in its brackets, not 0"),
        (
            "payload.a.matches('(')",
            19,
            "the text of matches() is no regular expression that RE2 knows: missing )",
        ),
        ("payload.a.matches(payload.b)", 19, "matches() takes a constant text here, no calculated one"),
        ("received.getHours('Berlin')", 19, "the text of getHours() 'Berlin' is no time zone"),
        ("topic.name == 'x'", 1, "topic is a text and has no field 'name'"),
        ("has(payload)", 1, "has() takes one field, such as has(payload.total)"),
        ("payload.exists(1, true)", 16, "the first argument of exists() is a name for each element"),
        ("payload.map(x)", 9, "map() takes a variable and what is done with it"),
        ("payload.map(x, x.map(y, y))", 18, "map() stands inside map(); one level of macros is allowed"),
        ("a.map(x, x).filter(y, y.exists(z, z))", 25, "exists() stands inside filter(); one level of macros"),
        ("1u", 1, "1u is unsigned; numbers have no such letter here: 1"),
        ("b'x'", 1, 'bytes (b"…") are not supported; write a text'),
        (r"'\q'", 1, r"a text has an escape that CEL does not know: \q; a backslash itself is \\"),
        (r"'\ud800'", 1, "a text has an escape that CEL does not know"),
        ("Type{a: 1}", 1, "is not allowed here"),
        ("{payload.a: 1}", 2, "a key of an object is a constant text"),
        ("9" * 60, 1, "a number of more than 40 characters"),
        ("[" * 40 + "]" * 40, MAX_DEPTH + 2, f"is nested deeper than {MAX_DEPTH} levels"),
        ("!" * 40 + "true", MAX_DEPTH + 2, f"is nested deeper than {MAX_DEPTH} levels"),
        ("payload" + ".a" * 40, 1, f"is nested deeper than {MAX_DEPTH} levels"),
        ("true ? 1 : " * 40 + "2", 353, f"is nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_at_its_place(
    text: str, column: int, reason: str
) -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression(text)
    assert caught.value.message.startswith(reason)
    assert caught.value.offset + 1 == column


def test_an_expression_has_at_most_4096_bytes() -> None:
    Expression(f'"{"x" * (MAX_BYTES - 2)}"')
    with pytest.raises(ExpressionError, match="has 4097 bytes, 4096 are allowed"):
        Expression(f'"{"x" * (MAX_BYTES - 1)}"')
    with pytest.raises(ExpressionError, match="bytes"):
        Expression(f'"{"ä" * (MAX_BYTES // 2)}"')


@pytest.mark.parametrize(
    "text", ["(" * 1000 + "1" + ")" * 1000, "+".join(["1"] * 2000), " && ".join(["true"] * 500)]
)
def test_what_is_long_without_being_deep_is_read(text: str) -> None:
    Expression(text)


def test_the_place_is_that_in_a_text_of_several_lines() -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression("payload.a > 1 &&\n  payload.b = 2")
    assert caught.value.offset == len("payload.a > 1 &&\n  payload.b ")
