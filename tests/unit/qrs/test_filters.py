"""The text of a filter holds what was put in, and nothing breaks out of it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.domain.model import Selector, SelectorKind
from butler_mqtt.qrs import filters

ID = "fb0f317d-da91-4b86-aafa-0174ae1e8c8f"

#: The grammar as the tests read it: a quoted string, a name, a bracket or a bare value.
TOKEN = re.compile(r"'(?P<text>(?:[^'\\]|\\.)*)'|(?P<bracket>[()])|(?P<word>[^\s()']+)| ", re.DOTALL)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("\\'\"()# &%+@", max_size=20)
selectors = st.one_of(
    st.builds(Selector, st.just(SelectorKind.TASK_ID), st.uuids().map(str)),
    st.builds(Selector, st.sampled_from([SelectorKind.TAG, SelectorKind.TASK_NAME]), texts),
    st.builds(Selector, st.just(SelectorKind.CUSTOM_PROPERTY), texts, texts),
)

SHAPES = {
    SelectorKind.TASK_ID: "( id eq {} )",
    SelectorKind.TASK_NAME: "( name eq {} )",
    SelectorKind.TAG: "( tags.name eq {} )",
    SelectorKind.CUSTOM_PROPERTY: "( customProperties.definition.name eq {}"
    " and customProperties.value eq {} )",
}


def tokens(text: str) -> tuple[str, list[str]]:
    """Read a filter: its shape with {} for each value, and the values unescaped."""
    shape, values, place = [], [], 0
    while place < len(text):
        match = TOKEN.match(text, place)
        assert match is not None, f"not in the grammar at {place}: {text!r}"
        place = match.end()
        if match["text"] is not None:
            values.append(re.sub(r"\\(.)", r"\1", match["text"], flags=re.DOTALL))
            shape.append("{}")
        elif match["word"] and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", match["word"]):
            values.append(match["word"])
            shape.append("{}")
        elif match[0] != " ":
            shape.append(match[0])
    return " ".join(shape), values


@given(st.lists(selectors, min_size=1, max_size=8))
def test_a_filter_has_the_shape_of_its_selectors_and_the_values_asked_for(wanted: list[Selector]) -> None:
    shape, values = tokens(filters.join(wanted))
    assert shape == " or ".join(SHAPES[one.kind] for one in wanted)
    expected = []
    for one in wanted:
        expected += [one.name, one.value] if one.kind is SelectorKind.CUSTOM_PROPERTY else [one.value]
    assert values == expected


@given(texts)
def test_an_encoded_filter_has_no_character_that_a_url_gives_a_meaning(text: str) -> None:
    encoded = filters.encode(filters.literal(text))
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*", encoded)
    assert unquote(encoded, errors="strict") == filters.literal(text)


def test_a_blank_is_percent_20() -> None:
    assert filters.encode("a b+c") == "a%20b%2Bc"


def test_a_quote_is_escaped_by_a_backslash_and_a_backslash_first() -> None:
    assert filters.literal("O'Brien \\") == r"'O\'Brien \\'"


def test_a_quote_is_doubled_where_the_site_wants_it_but_never_beside_a_backslash() -> None:
    assert filters.literal("O'Brien", doubled=True) == "'O''Brien'"
    assert filters.literal("O'Brien \\", doubled=True) == r"'O\'Brien \\'"


@given(st.lists(selectors, min_size=1, max_size=8))
def test_doubled_quotes_let_no_text_out_where_a_backslash_escapes(wanted: list[Selector]) -> None:
    shape, _ = tokens(filters.join(wanted, doubled=True))
    # There a doubled quote ends one string and begins the next, so that all text stays inside of strings.
    shape = re.sub(r"\{\}(?: \{\})+", "{}", shape)
    assert shape == " or ".join(SHAPES[one.kind] for one in wanted)


@given(st.lists(selectors, max_size=300))
def test_groups_keep_order_and_stay_within_both_limits(wanted: list[Selector]) -> None:
    groups = list(filters.groups(wanted))
    assert [one for group in groups for one in group] == wanted
    for group in groups:
        assert 0 < len(group) <= filters.MAX_TERMS
        assert len(group) == 1 or len(filters.encode(filters.join(group))) <= filters.MAX_ENCODED


def test_a_hundred_ids_fit_into_one_query() -> None:
    ids = [Selector(SelectorKind.TASK_ID, ID[:-3] + f"{n:03}") for n in range(100)]
    assert len(list(filters.groups(ids))) == 1


def test_long_tags_are_spread_over_queries() -> None:
    tags = [Selector(SelectorKind.TAG, f"{n}" + "ü" * 400) for n in range(10)]
    assert [len(group) for group in filters.groups(tags)] == [3, 3, 3, 1]


@pytest.mark.parametrize("value", ["", "x) or (id ne y", ID + ") or (true eq true", "١٢٣"])
def test_an_id_that_was_not_checked_stops_the_program_before_it_is_sent(value: str) -> None:
    with pytest.raises(RuntimeError):
        filters.any_of("id", [value])


def test_text_without_a_utf_8_form_cannot_be_asked_for() -> None:
    assert not filters.can_be_asked(Selector(SelectorKind.TAG, "\ud800"))
    assert filters.can_be_asked(Selector(SelectorKind.TAG, "😀"))
