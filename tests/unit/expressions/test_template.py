"""Requests with expressions in their texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.template import RenderError, Template, TemplateError, dotted, pieces
from butler_mqtt.expressions.values import Scope
from tests.unit.expressions.evaluating import variables

PAYLOAD = {"name": "Sales", "n": 7, "list": ["a", "b"], "nothing": None, "hostile": '"}} ${{ payload }}'}


def rendered(start: dict[str, object], steps: int = 10_000) -> object:
    return Template(start).render(Scope(variables(PAYLOAD), steps))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${{ payload.n }}", 7),
        ("${{payload.n}}", 7),
        (" ${{ payload.n }}", " 7"),
        ("${{ payload.n }}${{ payload.name }}", "7Sales"),
        ("${{ payload.list }}", ["a", "b"]),
        ("${{ payload.nothing }}", None),
        ("${{ {'a': {'b': 1}}.a }}", {"b": 1}),
        ("${{ '}}' }}", "}}"),
        ('${{ "a\\"}}" }}', 'a"}}'),
        ("${{ r'\\' }}", "\\"),
        ('${{ """its }}""" }}', "its }}"),
        ("$${{ payload.n }}}}", "$7}}"),
        ("$ {{ payload.n }}", "$ {{ payload.n }}"),
        ("${{ payload.hostile }}", PAYLOAD["hostile"]),
        ("x${{ payload.hostile }}x", f"x{PAYLOAD['hostile']}x"),
    ],
)
def test_a_text_is_filled(text: str, value: object) -> None:
    assert rendered({"tag": text}) == {"tag": value}


def test_values_that_are_no_texts_stay_as_they_are() -> None:
    start: dict[str, object] = {"dryRun": True, "tag": ["x", "${{ payload.n }}"], "n": 1.5, "none": None}
    assert rendered(start) == {"dryRun": True, "tag": ["x", 7], "n": 1.5, "none": None}


@pytest.mark.parametrize(
    ("text", "offset"), [("${{ payload.n", 0), ("ab ${{ 'x}y'", 3), ("${{ } }}", 0), ("${{ {} }", 0)]
)
def test_an_expression_without_an_end_is_a_problem_where_it_begins(text: str, offset: int) -> None:
    with pytest.raises(TemplateError) as caught:
        Template({"tag": text})
    assert [(one.path, one.offset) for one in caught.value.problems] == [(("tag",), offset)]


def test_every_problem_is_named_with_its_place_in_the_text() -> None:
    with pytest.raises(TemplateError) as caught:
        Template({"tag": ["ok", "x ${{ 1 + }}"], "${{ key }}": "x", "taskName": "${{ }}"})
    found = {one.path: one.offset for one in caught.value.problems}
    assert set(found) == {("tag", 1), ("${{ key }}",), ("taskName",)}
    assert found["${{ key }}",] is None
    assert found["tag", 1] is not None


def test_a_value_that_cannot_stand_in_a_text_is_named_with_its_place() -> None:
    with pytest.raises(RenderError) as caught:
        rendered({"customProperty": [{"name": "a", "value": "x ${{ payload.list }}"}]})
    assert str(caught.value).startswith("start.customProperty[0].value: ${{ payload.list }}: a list")


def test_a_request_that_would_be_too_long_is_refused() -> None:
    with pytest.raises(RenderError, match="makes the request too long"):
        Template({"tag": "${{ text }}"}).render(Scope(variables(text="a" * 1000), 100))


def test_it_is_known_whether_an_expression_fills_the_whole_text() -> None:
    template = Template({"tag": ["${{ payload.n }}", "x${{ payload.n }}", "plain"]})
    assert template.filled == {("tag", 0): True, ("tag", 1): False}
    assert [(path, offset) for path, offset, _ in template.expressions] == [(("tag", 0), 4), (("tag", 1), 5)]


@given(st.text("${} '\"\\ab", max_size=30))
def test_the_parts_of_any_text_are_found_or_it_is_refused(text: str) -> None:
    try:
        parts = list(pieces(text))
    except ExpressionError:
        return
    for part, offset in parts:
        assert part in text
        if offset is not None:
            assert text[offset : offset + len(part)] == part


def test_a_place_is_written_as_operators_write_it() -> None:
    assert dotted(()) == "start"
    assert dotted(("customProperty", 0, "value")) == "start.customProperty[0].value"
