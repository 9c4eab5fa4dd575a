"""What expressions give: CEL's semantics, and where ours goes further."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import EvaluationError, Scope, text_of
from tests.unit.expressions.evaluating import value, variables

BIG = 123456789012345678901234567890


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('payload.total > 1000 && payload.status == "closed"', True),
        ("payload.total == 1500", True),
        ("payload.total * 2 + 1", 3001.0),
        ("payload.parts / 2", 3),
        ("payload.parts % 4", 3),
        ("-7 / 2", -3),
        ("payload.big > 5", True),
        ("payload.big", BIG),
        ("has(payload.status) && !has(payload.other)", True),
        ('"status" in payload', True),
        ('payload.status in ["open", "closed"]', True),
        ("payload.other == 1 || true", True),
        ("false && payload.other == 1", False),
        ("payload.rows.exists(row, row.amount > 10)", True),
        ("payload.rows.all(row, row.amount > 10)", False),
        ("payload.rows.exists_one(row, row.amount > 10)", True),
        ("payload.rows.filter(row, row.amount > 10).size()", 1),
        ("payload.rows.map(row, row.amount)", [5, 20]),
        ("payload.rows.map(row, row.amount > 10, row.amount)", [20]),
        ("payload.rows.filter(row, row.amount > 10).map(row, row.amount + 1)", [21]),
        ("payload.rows[1].amount", 20),
        ("levels[1] + '-' + string(count)", "fin-3"),
        ("properties.company == levels[1]", True),
        ("received > timestamp('2026-11-30T16:08:00+01:00')", True),
        ("received.getHours('Europe/Berlin')", 16),
        ("received - duration('30s910ms123us') == timestamp('2026-11-30T15:08:00Z')", True),
        ("string(duration('1us'))", "0.000001s"),
        ("string(duration('-1m30s500ms'))", "-90.5s"),
        ("string(duration('0s'))", "0s"),
        ("payload.status.matches('^clo[st]ed$')", True),
        ("payload.status.upperAscii() + payload.status.substring(0, 2)", "CLOSEDcl"),
        ("'a,b'.split(',')", ["a", "b"]),
        ("['a', 'b'].join('-')", "a-b"),
        ("'1' == 1", False),
        ("true == 1", False),
        ("payload.nothing == null", True),
        ("count > 2 ? 'many' : 'few'", "many"),
        ("{'a': [1, {'b': 2}]}.a[1].b", 2),
        (r"'\u00e9\n' + r'\d'", "é\n\\d"),
        ("int('12') + int(1.9)", 13),
        ("double('1.5')", 1.5),
        ("payload.status // a comment", "closed"),
    ],
)
def test_an_expression_has_the_value_that_cel_gives_it(expression: str, expected: object) -> None:
    payload = {
        "total": 1500.0,
        "parts": 7,
        "status": "closed",
        "big": BIG,
        "nothing": None,
        "rows": [{"amount": 5}, {"amount": 20}],
    }
    assert value(expression, payload) == expected


A_NUMBER = "write int(…) or double(…) around the text"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("payload.other", "payload.other is not there"),
        ("payload.rows[2]", "payload.rows[2] is not there: payload.rows has 1 elements"),
        ("payload.status.other", "payload.status is a text and has no field 'other'"),
        ("payload.status > 5", f"payload.status > 5: a text > a number is not possible; {A_NUMBER}"),
        ("1.5 <= payload.status", f"1.5 <= payload.status: a number <= a text is not possible; {A_NUMBER}"),
        ("payload.status - 5", f"a text - a number is not possible; {A_NUMBER}"),
        ("payload.status + 5", "a text + a number is not possible; string(…) makes a text of a value"),
        ("payload.status && true", "payload.status is a text, neither true nor false"),
        ("1 / payload.zero", "division by zero"),
        ("1.0 / payload.zero", "division by zero"),
        ("9223372036854775807 + 1", "the result is too large a number"),
        ("int('1x')", "int() makes no integer of the text '1x'"),
        ("payload.zero.map(x, x)", "payload.zero is a number; map() takes a list or an object"),
        ("payload.rows.exists(x, x.other)", "x.other is not there"),
        ("!payload.zero", "payload.zero is a number, which `!` does not take"),
        ("payload.zero ? 1 : 2", "payload.zero is a number, neither true nor false"),
    ],
)
def test_what_has_no_value_says_why(expression: str, reason: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value(expression, {"status": "closed", "zero": 0, "rows": [{}]})
    assert str(caught.value) == reason


def test_a_condition_is_true_or_false_and_nothing_else() -> None:
    with pytest.raises(EvaluationError, match="is a number, neither true nor false"):
        Expression("payload").condition(Scope(variables(1)))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1500.0, "1500"),
        (0.1, "0.1"),
        (BIG, str(BIG)),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (True, "true"),
        (7, "7"),
    ],
    ids=str,
)
def test_a_whole_number_reads_without_its_fraction(number: float, text: str) -> None:
    assert text_of(number) == text
