"""What the REST API shows of the journal: one request, and counts of what is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from butler_mqtt.contract.request_status import request_status
from butler_mqtt.errors import JournalError
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.status_rows import OpenCounts, StatusReader
from butler_mqtt.journal.write_batch import Value, WriteBatch
from tests.journals import put_empty


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    put_empty(tmp_path / "journal.sqlite")
    made = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    made.open()
    yield made
    made.close()


def request(identity: int, request_id: str, **values: Value) -> dict[str, Value]:
    row: dict[str, Value] = {
        "id": identity,
        "request_id": request_id,
        "holds_id": True,
        "door": "rest",
        "state": "received",
        "received_at": identity * 1000,
    }
    return {**row, **values}


def write(journal: Journal, *rows: dict[str, Value]) -> None:
    unit = WriteBatch()
    for row in rows:
        unit.insert(tables.requests, row)
    journal.write(unit)


def test_an_unknown_request_has_no_record(journal: Journal) -> None:
    assert StatusReader(journal.path).request("nobody") is None


def test_the_request_that_holds_the_id_comes_before_those_that_were_refused(journal: Journal) -> None:
    write(
        journal,
        request(
            1, "r", holds_id=False, state="refused", reply='{"requestId": "r", "error": "E", "code": "c"}'
        ),
        request(2, "r"),
        request(3, "r", holds_id=False, state="refused"),
    )
    rows = StatusReader(journal.path).request("r")
    assert rows is not None
    state = request_status(rows.request, rows.deliveries, rows.starts)
    assert (state["receivedAt"], state["status"]) == ("1970-01-01T00:00:02.000Z", "pending")


def test_a_refusal_is_shown_with_its_answer(journal: Journal) -> None:
    reply = '{"requestId": "r", "error": "E", "details": "D", "code": "c", "tasksNotFound": [{"tag": "x"}]}'
    write(journal, request(1, "r", holds_id=False, state="refused", reply=reply))
    rows = StatusReader(journal.path).request("r")
    assert rows is not None
    state = request_status(rows.request, rows.deliveries, rows.starts)
    assert (state["status"], state["error"], state["code"]) == ("failed", "E", "c")
    assert state["tasksNotFound"] == [{"tag": "x"}]
    assert state["totalTasksStarted"] == 0


def test_what_is_open_is_counted_with_the_age_of_the_oldest(journal: Journal) -> None:
    reader = StatusReader(journal.path)
    assert reader.backlog() == OpenCounts(0, None, 0, 0, 0)
    write(
        journal,
        request(1, "a", state="closed", closed_at=1500),
        request(2, "b"),
        request(3, "c", state="decided"),
    )
    assert reader.backlog() == OpenCounts(2, 2000, 0, 0, 0)


def test_counting_reads_no_whole_table_of_requests_or_runs(journal: Journal) -> None:
    reader = StatusReader(journal.path)
    plans: list[str] = []

    @event.listens_for(reader._engine, "before_cursor_execute")
    def explain(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        with journal.transaction() as writer:
            found = writer.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type] # as the driver gets them
            plans.extend(str(row[3]) for row in found)

    write(journal, request(1, "a"))
    reader.backlog()
    assert plans
    for plan in plans:
        if "requests" in plan.split() or "runs" in plan.split():
            assert "requests_open" in plan or "runs_executing" in plan or "PRIMARY KEY" in plan, plan


def test_an_absent_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        StatusReader(tmp_path / "nothing.sqlite").backlog()
