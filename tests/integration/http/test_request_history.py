"""The state of requests as the journal has it; REST costs nothing while it is off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from butler_mqtt.errors import JournalError
from butler_mqtt.journal import tables
from butler_mqtt.journal.request_history import Backlog, RequestHistory
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import Value, WriteBatch
from butler_mqtt.ledger import request_status


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
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
    assert RequestHistory(journal.path).record("nobody") is None


def test_the_request_that_holds_the_id_comes_before_those_that_were_refused(journal: Journal) -> None:
    write(
        journal,
        request(
            1, "r", holds_id=False, state="refused", reply='{"requestId": "r", "error": "E", "code": "c"}'
        ),
        request(2, "r"),
        request(3, "r", holds_id=False, state="refused"),
    )
    record = RequestHistory(journal.path).record("r")
    assert record is not None
    assert request_status.state(record)["receivedAt"] == "1970-01-01T00:00:02.000Z"
    assert request_status.state(record)["status"] == "pending"


def test_a_refusal_is_shown_with_its_answer(journal: Journal) -> None:
    reply = '{"requestId": "r", "error": "E", "details": "D", "code": "c", "tasksNotFound": [{"tag": "x"}]}'
    write(journal, request(1, "r", holds_id=False, state="refused", reply=reply))
    record = RequestHistory(journal.path).record("r")
    assert record is not None
    state = request_status.state(record)
    assert (state["status"], state["error"], state["code"]) == ("failed", "E", "c")
    assert state["tasksNotFound"] == [{"tag": "x"}]
    assert state["totalTasksStarted"] == 0


def test_what_is_open_is_counted_with_the_age_of_the_oldest(journal: Journal) -> None:
    history = RequestHistory(journal.path)
    assert history.backlog() == Backlog(0, None, 0, 0, 0)
    write(
        journal,
        request(1, "a", state="closed", closed_at=1500),
        request(2, "b"),
        request(3, "c", state="decided"),
    )
    assert history.backlog() == Backlog(2, 2000, 0, 0, 0)


def test_counting_reads_no_whole_table_of_requests_or_runs(journal: Journal) -> None:
    history = RequestHistory(journal.path)
    plans: list[str] = []

    @event.listens_for(history._engine, "before_cursor_execute")
    def explain(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        with journal.transaction() as writer:
            found = writer.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type] # as the driver gets them
            plans.extend(str(row[3]) for row in found)

    write(journal, request(1, "a"))
    history.backlog()
    assert plans
    for plan in plans:
        if "requests" in plan.split() or "runs" in plan.split():
            assert "requests_open" in plan or "runs_executing" in plan or "PRIMARY KEY" in plan, plan


def test_an_absent_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        RequestHistory(tmp_path / "nothing.sqlite").backlog()


def test_nothing_of_a_web_server_is_loaded_while_both_listeners_are_off() -> None:
    code = (
        "import sys, butler_mqtt.daemon\n"
        "print([name for name in ('starlette', 'uvicorn', 'prometheus_client', 'cryptography')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
