"""One transaction's changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import WriteBatch


def run(identity: int, state: str, task: str = "t") -> dict[str, Any]:
    return {"id": identity, "task_id": task, "state": state, "intended_at": 1, "attempts": 1}


def rows(journal: Journal) -> dict[int, str]:
    with journal.transaction() as connection:
        found = connection.execute(select(tables.runs.c.id, tables.runs.c.state)).all()
    return {row.id: row.state for row in found}


def test_a_row_added_and_changed_is_written_in_its_last_form(journal: Journal) -> None:
    unit = WriteBatch()
    unit.insert(tables.runs, run(1, "intended"))
    unit.update(tables.runs, 1, state="executing")
    assert unit.changed(tables.runs, 1)["state"] == "executing"
    journal.write(unit)
    assert rows(journal) == {1: "executing"}


def test_an_outcome_makes_place_for_the_next_intent_in_the_same_transaction(journal: Journal) -> None:
    first = WriteBatch()
    first.insert(tables.runs, run(1, "intended"))
    journal.write(first)
    second = WriteBatch()
    second.insert(tables.runs, run(2, "intended"))
    second.update(tables.runs, 1, state="executing")
    journal.write(second)
    assert rows(journal) == {1: "executing", 2: "intended"}


def test_two_open_runs_of_a_task_cannot_be_written(journal: Journal) -> None:
    unit = WriteBatch()
    unit.insert(tables.runs, run(1, "intended"))
    unit.insert(tables.runs, run(2, "posted"))
    with pytest.raises(RuntimeError, match="UNIQUE"):
        journal.write(unit)


def test_two_requests_cannot_hold_one_id(journal: Journal) -> None:
    unit = WriteBatch()
    for identity, holds in ((1, False), (2, True), (3, True)):
        unit.insert(
            tables.requests,
            {
                "id": identity,
                "request_id": "same",
                "holds_id": holds,
                "door": "mqtt",
                "state": "refused",
                "received_at": 0,
            },
        )
    with pytest.raises(RuntimeError, match="UNIQUE"):
        journal.write(unit)


def test_an_empty_unit_is_false_and_writes_nothing(journal: Journal) -> None:
    unit = WriteBatch()
    assert not unit
    assert not unit.changed(tables.runs, 1)
    assert not unit
    journal.write(unit)
    assert rows(journal) == {}


CHANGES = st.lists(
    st.tuples(st.sampled_from(["insert", "update", "delete"]), st.integers(1, 4), st.sampled_from("xyz"))
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions=st.lists(CHANGES, max_size=4))
def test_many_changes_written_together_are_the_changes_one_by_one(
    journal: Journal, transactions: list[list[tuple[str, int, str]]]
) -> None:
    # A row is added once, as in the program: ids are not used again.
    with journal.transaction() as connection:
        connection.execute(tables.runs.delete())
    expected: dict[int, str] = {}
    used: set[int] = set()
    for changes in transactions:
        unit = WriteBatch()
        for action, identity, state in changes:
            if action == "insert" and identity not in used:
                used.add(identity)
                unit.insert(tables.runs, run(identity, state, f"t{identity}"))
                expected[identity] = state
            elif action == "update" and identity in expected:
                unit.update(tables.runs, identity, state=state)
                expected[identity] = state
            elif action == "delete" and identity in expected:
                unit.delete(tables.runs, identity)
                del expected[identity]
        journal.write(unit)
    assert rows(journal) == expected
