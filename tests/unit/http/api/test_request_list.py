"""The filters of the list of requests, and places in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from butler_mqtt.http.api.request_list import read_query, written_place
from butler_mqtt.http.error_responses import HttpRefusal


@given(st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))
def test_a_place_is_read_as_it_was_written(received_at: int, row: int) -> None:
    after = written_place((received_at, row))
    assert read_query(QueryParams({"after": after})).before == (received_at, row)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1-2", "1-2-3", "1-2 ", "\u0661-\u0662", "9" * 16 + "-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(HttpRefusal, match="not what `next` of a page was"):
        read_query(QueryParams({"after": text}))


@pytest.mark.parametrize("text", ["", "yesterday", "1y", "-1h", "2026-13-01", "1e3s", "9999999999s"])
def test_what_is_no_time_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(HttpRefusal, match="neither a duration"):
        read_query(QueryParams({"since": text}))


@pytest.mark.parametrize("text", ["0s", "999999999w", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_may_be_far_away(text: str) -> None:
    since = read_query(QueryParams({"since": text})).since
    assert since is not None
    assert abs(since) < 2**63  # what SQLite can compare
