"""Selectors as they stand in a request, each once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract.selectors import grouped, match_of, matches, selectors_of
from butler_mqtt.domain.model import Match, Selector, SelectorKind

ID = "a8b4c123-def4-5678-9abc-def012345678"


def test_a_selector_stands_once_whatever_the_case_of_its_letters() -> None:
    holder = {
        "tag": ["Daily", "daily", "DAILY"],
        "taskId": [ID.upper(), ID],
        "customProperty": [{"name": "A", "value": "x"}, {"name": "a", "value": "X"}],
    }
    assert selectors_of(holder) == (
        Selector(SelectorKind.TASK_ID, ID),
        Selector(SelectorKind.TAG, "Daily"),
        Selector(SelectorKind.CUSTOM_PROPERTY, "x", "A"),
    )


@pytest.mark.parametrize(
    "texts",
    [("Straße", "STRASSE"), ("\u212aelvin", "kelvin"), ("ma\u017fs", "mass"), ("\u03c3", "\u03c2")],
    ids=ascii,
)
def test_what_the_server_may_know_as_two_stands_twice(texts: tuple[str, str]) -> None:
    one, other = texts
    assert one.casefold() == other.casefold()
    assert [selector.value for selector in selectors_of({"tag": [one, other]})] == [one, other]
    pairs = [{"name": "line", "value": text} for text in texts] + [
        {"name": text, "value": "1"} for text in texts
    ]
    assert len(selectors_of({"customProperty": pairs})) == 4


def test_letters_beyond_ascii_have_cases_too() -> None:
    assert len(selectors_of({"taskName": ["Änderung", "ÄNDERUNG", "änderung"]})) == 1


def test_the_id_of_the_path_goes_first_and_does_not_stand_twice() -> None:
    other = ID.replace("a8", "b8")
    assert [one.value for one in selectors_of({"taskId": [other, ID]}, ID.upper())] == [ID, other]
    assert [one.value for one in selectors_of({}, ID)] == [ID]


def test_one_value_may_stand_without_a_list() -> None:
    assert selectors_of({"tag": "daily"}) == selectors_of({"tag": ["daily"]})


def test_a_name_and_a_value_do_not_run_into_each_other() -> None:
    pairs = [{"name": "a", "value": "bc"}, {"name": "ab", "value": "c"}]
    assert len(selectors_of({"customProperty": pairs})) == 2


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "tag": st.lists(st.text(max_size=3), min_size=1, max_size=4),
            "taskName": st.lists(st.text(max_size=3), min_size=1, max_size=4),
            "customProperty": st.lists(
                st.fixed_dictionaries({"name": st.text(max_size=2), "value": st.text(max_size=2)}), min_size=1
            ),
        },
    )
)
def test_what_is_written_again_selects_the_same(holder: dict[str, object]) -> None:
    found = selectors_of(holder)
    assert selectors_of(grouped(found)) == found


def test_how_kinds_are_joined_is_any_unless_it_is_said() -> None:
    assert matches({}, "tag") is Match.ANY
    assert matches({"tag": "all"}, "tag") is Match.ALL
    assert match_of({"match": {"tag": "any", "criteria": "all"}}) == {"criteria": "all"}
    assert match_of({}) == {}
