"""The query parameters of a list."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from starlette.datastructures import QueryParams

from butler_mqtt.http.api.query_parameters import LIMIT, MAX_LIMIT, QueryParameters
from butler_mqtt.http.error_responses import HttpRefusal

NAMES = ("state", "tag", "limit")


def parameters(*pairs: tuple[str, str]) -> QueryParameters:
    return QueryParameters(QueryParams(urlencode(pairs)), NAMES)


@pytest.mark.parametrize(
    ("pairs", "details"),
    [
        ((("Stat", "x"),), "unknown parameter 'Stat', did you mean 'state'?"),
        ((("zz", "x"),), "unknown parameter 'zz'; known are state, tag, limit"),
        ((("tag", "x"), ("tag", "x")), "tag is given twice"),
    ],
    ids=["near", "unknown", "twice"],
)
def test_a_parameter_that_is_none_is_named(pairs: tuple[tuple[str, str], ...], details: str) -> None:
    with pytest.raises(HttpRefusal) as caught:
        parameters(*pairs)
    assert (caught.value.code, caught.value.details) == ("invalid_request", details)


@pytest.mark.parametrize("text", ["0", "-1", "501", "1.0", "", " 5", "99999", "\u0661", "abc"])
def test_a_limit_is_a_whole_number_within_its_bounds(text: str) -> None:
    with pytest.raises(HttpRefusal, match="not a whole number, 1 to 500"):
        parameters(("limit", text)).limit()


def test_a_limit_may_be_left_out_and_reach_both_bounds() -> None:
    assert parameters().limit() == LIMIT
    assert parameters(("limit", "1")).limit() == 1
    assert parameters(("limit", str(MAX_LIMIT))).limit() == MAX_LIMIT


@pytest.mark.parametrize("text", ["", "a" * 257], ids=["empty", "long"])
def test_a_text_has_a_length(text: str) -> None:
    with pytest.raises(HttpRefusal, match="tag must have 1 to 256 characters"):
        parameters(("tag", text)).text("tag")
    assert parameters(("tag", "é" * 256)).text("tag") == "é" * 256


def test_a_choice_is_one_of_its_values() -> None:
    assert parameters().one_of("state", ("open",)) is None
    assert parameters(("state", "open")).one_of("state", ("open",)) == "open"
    with pytest.raises(HttpRefusal, match="state is 'Open', not one of open"):
        parameters(("state", "Open")).one_of("state", ("open",))
