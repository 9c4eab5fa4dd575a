"""Which request is meant where several had one id."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.audit.requests_choice import (
    MAX_LISTED,
    MAX_SENDER,
    Declined,
    choose,
    numbered,
    owner,
    retry_sender,
)
from butler_mqtt.clock import LAST_MS
from butler_mqtt.journal.request_rows import RequestRows


def rows(fingerprint: str = "f", **changes: Any) -> RequestRows:
    request = {
        "request_id": "r",
        "fingerprint": fingerprint,
        "received_at": 0,
        "state": "closed",
        "code": None,
        "document": "{}",
        "holds_id": False,
    }
    return RequestRows(request | changes, (), ())


def test_of_several_that_ask_for_the_same_the_newest_is_meant() -> None:
    old, new = rows(), rows()
    assert choose("r", [old, new], [old, new]) is new


def test_of_several_that_ask_for_different_things_a_person_chooses() -> None:
    all_of_it = [rows(str(number), received_at=LAST_MS) for number in range(MAX_LISTED + 5)]
    with pytest.raises(Declined) as caught:
        choose("r", all_of_it, all_of_it)
    lines = str(caught.value).splitlines()
    assert len(lines) == MAX_LISTED + 1
    assert lines[-1].startswith(f"  --number {MAX_LISTED + 5} ")


def test_a_number_is_that_of_the_list_and_none_beyond() -> None:
    one, other = rows(), rows()
    assert numbered("r", [one, other], 2) is other
    with pytest.raises(Declined, match="there is no number 3"):
        numbered("r", [one, other], 3)


def test_the_owner_of_an_id_is_the_one_that_holds_it() -> None:
    assert owner([rows(), rows(holds_id=True), rows()]) == 2
    assert owner([rows()]) is None


def test_a_retry_names_the_time_only_where_another_request_had_the_id() -> None:
    one, same, other = rows(), rows(), rows("g")
    assert retry_sender(one, [one, same]) == "retry of r"
    assert retry_sender(one, [one, other]) == "retry of r arrived 1970-01-01T00:00:00.000Z"
    assert retry_sender(one, [one, rows("g", document=None)]) == "retry of r"
    assert len(retry_sender(rows(request_id="x" * 128), [one])) == MAX_SENDER
