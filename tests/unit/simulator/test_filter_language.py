from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.simulator import filter_language
from butler_mqtt.simulator.filter_language import And, FilterError, Or, Term, Value, ValueKind

_NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"true", "false", "and", "or"}
)
_PATH = st.lists(_NAME, min_size=1, max_size=3).map(tuple) | _NAME.map(lambda name: ("@", name))
_VALUE = (
    st.text().map(lambda text: Value(ValueKind.TEXT, text))
    | st.uuids().map(lambda guid: Value(ValueKind.GUID, str(guid)))
    | st.integers(-(10**9), 10**9).map(lambda number: Value(ValueKind.NUMBER, float(number)))
    | st.booleans().map(lambda flag: Value(ValueKind.BOOLEAN, flag))
    | _NAME.map(lambda name: Value(ValueKind.WORD, name))
)
_TERM = st.builds(Term, _PATH, st.sampled_from(sorted(filter_language.OPERATORS)), _VALUE)
_EXPRESSION: st.SearchStrategy[filter_language.Expression] = st.recursive(
    _TERM,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=4).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=12,
)


def text_of(source: str, *, doubled_quotes: bool = False) -> object:
    """Give the value of a filter of one term."""
    expression = filter_language.parse(source, doubled_quotes=doubled_quotes)
    assert isinstance(expression, Term)
    return expression.value.value


@given(_EXPRESSION)
def test_what_is_written_is_read_back(expression: filter_language.Expression) -> None:
    assert filter_language.parse(filter_language.write(expression)) == expression


@given(st.text(alphabet="ab'\\()@ .eqandorsw1-\n", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        expression = filter_language.parse(text)
    except FilterError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert filter_language.parse(filter_language.write(expression)) == expression
    assert refusal in ("", f"Cannot parse the expression: {text}", "Invalid expression")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "name",
        "name eq",
        "name eq 'a",
        'name eq "a"',
        "name eq 'Q1''25'",
        r"name eq 'a\b'",
        r"name eq 'a\'",
        "name eq 'a' and",
        "name eq 'a' or or name eq 'b'",
        "name eq 'a' name eq 'b'",
        "(name eq 'a'",
        "name eq 'a')",
        "not name eq 'a'",
        "name EQ 'a'",
        "name like 'a'",
        "name+eq+'a'",
        "name eq a.b",
        "1 eq 1",
        ".name eq 'a'",
        "@ eq 'a'",
        "id eq fb0f317d-da91-4b86-aafa-0174ae1e8c8",
        "id eq fb0f317d-da91-4b86-aafa-0174ae1e8c8f0",
        "(" * 5000,
        "(" * 500 + "name eq 'a'" + ")" * 500,
    ],
)
def test_a_filter_outside_the_grammar_cannot_be_parsed(text: str) -> None:
    with pytest.raises(FilterError, match=r"Cannot parse the expression: "):
        filter_language.parse(text)


@pytest.mark.parametrize("text", ["()", "name eq 'a' or ()", "(())"])
def test_an_empty_group_is_an_invalid_expression(text: str) -> None:
    with pytest.raises(FilterError, match=r"^Invalid expression$"):
        filter_language.parse(text)


def test_a_backslash_escapes_quotes_and_backslashes() -> None:
    assert text_of(r"name eq 'Q1\'25 \\ x'") == r"Q1'25 \ x"
    assert text_of(r"name eq '\\'") == "\\"


def test_doubled_quotes_can_be_the_only_escape() -> None:
    expression = filter_language.parse(r"name eq 'Q1''25 \'", doubled_quotes=True, backslashes=False)
    assert isinstance(expression, Term)
    assert expression.value.value == "Q1'25 \\"
    with pytest.raises(FilterError):
        filter_language.parse(r"name eq 'Q1\'25'", doubled_quotes=True, backslashes=False)


def test_doubled_quotes_can_be_accepted_beside_the_backslash() -> None:
    assert text_of(r"name eq 'Q1''25 \' \\'", doubled_quotes=True) == "Q1'25 ' \\"
    assert text_of(r"name eq '\\'''", doubled_quotes=True) == "\\'"


def test_and_binds_tighter_than_or() -> None:
    a, b, c = (filter_language.parse(f"name eq '{letter}'") for letter in "abc")
    assert filter_language.parse("name eq 'a' or name eq 'b' and name eq 'c'") == Or((a, And((b, c))))
    assert filter_language.parse("(name eq 'a' or name eq 'b') and name eq 'c'") == And((Or((a, b)), c))


def test_words_in_strings_are_not_keywords() -> None:
    assert text_of("name eq ') or (id ne 1 and '") == ") or (id ne 1 and "


def test_a_hundred_ids_are_one_flat_choice() -> None:
    guids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(100)]
    expression = filter_language.parse(" or ".join(f"(id eq {guid})" for guid in guids))
    assert isinstance(expression, Or)
    assert [part.value.value for part in expression.parts if isinstance(part, Term)] == guids
