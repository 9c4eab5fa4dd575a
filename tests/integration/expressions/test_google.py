"""The same expressions by Google's own CEL: ours must agree, where it does not go further on purpose."""

from __future__ import annotations

from typing import Any

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings as strings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import EvaluationError, Scope
from tests.unit.expressions.evaluating import variables

PAYLOAD: dict[str, Any] = {
    "i": 7,
    "n": -3,
    "z": 0,
    "d": 2.5,
    "w": 4.0,
    "s": "abc",
    "e": "",
    "b": True,
    "f": False,
    "u": None,
    "l": [1, 2, 3],
    "m": {"a": 1},
    "t": ["x", "y"],
    "o": [{"q": 1}, {"q": 5}],
}
ATOMS = st.sampled_from(
    [f"payload.{key}" for key in PAYLOAD]
    + [
        "payload.missing",
        "payload.m.a",
        "payload.o[1].q",
        "payload.l[0]",
        "payload.l[9]",
        "payload['s']",
        "levels[1]",
    ]
    + [
        "count",
        "topic",
        "1",
        "2",
        "-1",
        "0",
        "1.5",
        "'a'",
        "'abc'",
        "true",
        "false",
        "null",
        "[]",
        "[1,2]",
        "{'a':1}",
        "properties.company",
    ]
    + ["received", "duration('90s')", "timestamp('2026-11-30T15:08:30Z')", "has(payload.m.a)"]
)
CONVERSIONS = ["size", "string", "int", "double", "bool", "timestamp", "duration", "dyn"]
OF_TWO = ["contains", "startsWith", "endsWith", "indexOf", "lastIndexOf", "split", "charAt"]
OF_ONE = [
    "lowerAscii",
    "upperAscii",
    "trim",
    "join",
    "size",
    "getHours",
    "getMonth",
    "getDate",
    "getDayOfWeek",
    "getSeconds",
]
LISTS = ["payload.l", "payload.m", "payload.t", "payload.o", "levels", "[3, 1]", "payload.s"]
BODIES = ["x", "x > 1", "x == 1", "x.q > 2", "x == 'x'", "x + 1", "size(x) > 0", "x == payload.i"]


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = ["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "&&", "||"]
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(operators), inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("{}({})".format, st.sampled_from(["!", "-"]), inner),
        st.builds("{}({})".format, st.sampled_from(CONVERSIONS), inner),
        st.builds("({}).{}({})".format, inner, st.sampled_from(OF_TWO), inner),
        st.builds("({}).{}()".format, inner, st.sampled_from(OF_ONE)),
        st.builds("({}).substring({}, {})".format, inner, inner, inner),
        st.builds("({}).replace({}, {})".format, inner, inner, inner),
        st.builds(
            "{}.{}(x, {})".format,
            st.sampled_from(LISTS),
            st.sampled_from(["exists", "all", "exists_one", "filter", "map"]),
            st.sampled_from(BODIES),
        ),
    )


EXPRESSIONS = st.recursive(ATOMS, _larger, max_leaves=6)
#: What Google's does not know, and ours does: numbers of both kinds, and keys that are no text.
FURTHER = "No matching overloads found : "

ERROR = object()


@pytest.fixture(scope="module")
def google() -> Any:
    kinds = cel.Type
    return cel.NewEnv(
        variables={
            "payload": kinds.DYN,
            "topic": kinds.STRING,
            "levels": kinds.List(kinds.STRING),
            "properties": kinds.Map(kinds.STRING, kinds.STRING),
            "received": kinds.TIMESTAMP,
            "count": kinds.INT,
        },
        extensions=[strings.ExtStrings()],
    )


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=EXPRESSIONS)
def test_an_expression_has_the_value_that_googles_cel_gives_it(google: Any, expression: str) -> None:
    values = variables(PAYLOAD)
    try:
        compiled = google.compile(expression)
    except RuntimeError:
        return  # it knows the types before there is a message, and ours does not
    theirs = compiled.eval(data={key: one for key, one in values.items() if key != "text"})
    fails = theirs.type() == cel.Type.ERROR
    try:
        ours = Expression(expression).evaluate(Scope(values))
    except EvaluationError:
        ours = ERROR
    if fails and FURTHER in str(theirs.plain_value()):
        return
    assert _typed(ours) == _typed(ERROR if fails else theirs.plain_value())


def _typed(value: Any) -> Any:
    """Return *value* with the types of everything in it, since True == 1 and 1.0 == 1 in Python."""
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return type(value).__name__, value
