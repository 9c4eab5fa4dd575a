"""States change as `domain.states` allows, and only so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from butler_mqtt.domain.decisions import Decision
from butler_mqtt.domain.model import Arrival, Request, Task
from butler_mqtt.domain.open_work import Address, OpenRequest, Watch
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RequestState, RunState, StartState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import tables
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork

TASK = Task("11111111-2222-3333-4444-555555555555", "Sales")
BASELINE = Baseline(None, None, None)


@pytest.fixture
def turn() -> UnitOfWork:
    made = UnitOfWork()
    made.number_from({table.name: 0 for table in tables.metadata.sorted_tables})
    return made


@pytest.fixture
def ledger(turn: UnitOfWork) -> Ledger:
    return Ledger(turn, event_topic="events")


def received(ledger: Ledger) -> OpenRequest:
    arrival = Arrival("rest", b"{}", 0)
    return ledger.requests.received(arrival, Request("{}", ""), "r", Address(b"{}", 0.0))


def decided(ledger: Ledger) -> OpenRequest:
    opened = received(ledger)
    ledger.requests.decided(opened, Decision((TASK,), (), (), {}))
    return opened


def test_a_request_is_open_until_all_its_starts_are_decided(ledger: Ledger) -> None:
    opened = decided(ledger)
    assert (opened.state, ledger.requests.count, list(ledger.requests.open)) == ("decided", 1, [opened.id])
    run = ledger.runs.intended(opened.starts, BASELINE, 0.0)
    ledger.runs.executing(run, "an execution")
    assert (opened.state, ledger.requests.count, list(ledger.requests.open)) == ("closed", 0, [])


def test_the_outcome_its_reply_and_its_event_are_rows_of_one_unit_of_work(
    turn: UnitOfWork, ledger: Ledger
) -> None:
    opened = decided(ledger)
    run = ledger.runs.intended(opened.starts, BASELINE, 0.0)
    turn.begin()
    ledger.runs.unknown(run, "no answer")
    assert turn.unit.changed(tables.runs, run.id)["state"] == RunState.UNKNOWN
    assert turn.unit.changed(tables.starts, opened.starts[0].id)["state"] == StartState.UNKNOWN
    assert turn.unit.changed(tables.requests, opened.id)["state"] == RequestState.CLOSED
    (event,) = turn.publications
    assert b'"event":"unknown"' in event.payload


@pytest.mark.parametrize(
    "again",
    [
        lambda ledger, opened: ledger.requests.refused(opened, RequestError("expired", "", "")),
        lambda ledger, opened: ledger.requests.decided(opened, Decision((), (), (), {})),
        lambda ledger, opened: ledger.starts.skipped(opened.starts, None),
        lambda ledger, opened: ledger.starts.dropped(opened.starts, "expired", "", StartState.EXPIRED),
    ],
    ids=["refused", "decided", "skipped", "dropped"],
)
def test_what_has_its_outcome_takes_no_other(
    ledger: Ledger, again: Callable[[Ledger, OpenRequest], object]
) -> None:
    opened = decided(ledger)
    ledger.starts.dropped(opened.starts, "task_disabled", "", StartState.NOT_STARTED)
    with pytest.raises(RuntimeError, match="cannot become"):
        again(ledger, opened)


def test_a_run_is_posted_again_only_while_its_outcome_is_open(ledger: Ledger) -> None:
    opened = decided(ledger)
    run = ledger.runs.intended(opened.starts, BASELINE, 0.0)
    ledger.runs.posted(run, "no answer")
    ledger.runs.again(run)
    assert (run.state, run.attempts) == ("intended", 2)
    ledger.runs.executing(run, None)
    with pytest.raises(RuntimeError, match="ended cannot become intended"):
        ledger.runs.again(run)


def test_the_end_of_an_execution_that_is_not_ours_changes_nothing(turn: UnitOfWork, ledger: Ledger) -> None:
    ledger.runs.ended(Watch("an execution", TASK, 0.0), None, ())
    assert not turn.unit
