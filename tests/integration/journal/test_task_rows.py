"""Tasks that the journal knows: in order, by pages, and each sender's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from butler_mqtt.journal import task_rows
from tests.integration.requests.filling import RARE, TASKS, fill


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 2,000 requests for 501 tasks; those with an even number are from `erp`."""
    file = tmp_path_factory.mktemp("tasks") / "journal.sqlite"
    fill(file, 2000, days=10)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE requests SET identity = iif(id % 2, 'iot', 'erp')")
    return file


def test_pages_hold_each_task_once_by_name(file: Path) -> None:
    names: list[str] = []
    after = None
    while found := task_rows.page(file, 200, tag=None, after=after):
        names += [one.name for one in found]
        after = found[-1].task_id
    # Every request for one of the tasks was refused.
    known = {"Rare", *(name for _, name in TASKS)} - {"Task 7"}
    assert names == sorted(known, key=str.casefold)


def test_the_newest_start_comes_first_and_few_are_read(file: Path) -> None:
    found = task_rows.page(file, 1000, tag=None, after=None)
    assert found is not None
    for one in found:
        arrived = [start["received_at"] for start in one.starts]
        assert arrived == sorted(arrived, reverse=True)
        assert 0 < len(arrived) <= task_rows.LAST_STARTS


def test_a_sender_is_shown_what_its_own_requests_started(file: Path) -> None:
    own = task_rows.page(file, 1000, tag=None, after=None, owner="erp")
    assert own is not None
    assert {start["identity"] for one in own for start in one.starts} == {"erp"}
    # The task of every five-hundredth request has an even number, or an odd one.
    assert len(own) == 251
    assert task_rows.page(file, 1000, tag=None, after=None, owner="nobody") == []


def test_whether_others_have_a_task_does_not_show(file: Path) -> None:
    others = TASKS[1][0]
    assert task_rows.page(file, 1, tag=None, after=others) is not None
    assert task_rows.page(file, 1, tag=None, after=others, owner="erp") is None
    assert task_rows.page(file, 1, tag=None, after=RARE, owner="erp") is not None


def test_a_tag_that_no_request_named_selects_nothing(file: Path) -> None:
    assert task_rows.page(file, 10, tag="none", after=None) == []
