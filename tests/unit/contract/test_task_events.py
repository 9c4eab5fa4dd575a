"""Events about an execution or a waiting start."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from butler_mqtt.contract.task_events import end_of, event, outcome
from butler_mqtt.domain.model import Execution, ExecutionStatus, Task
from butler_mqtt.domain.states import StartState

TASK = Task("task", "Sales")


def execution(status: int, **more: object) -> Execution:
    return Execution("execution", "result", None, status, **more)  # type: ignore[arg-type] # any field


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (ExecutionStatus.FINISHED_SUCCESS, StartState.SUCCEEDED),
        (ExecutionStatus.FINISHED_FAIL, StartState.FAILED),
        (ExecutionStatus.ERROR, StartState.FAILED),
        (ExecutionStatus.RESET, StartState.FAILED),
        (ExecutionStatus.ABORTED, StartState.ABORTED),
        (ExecutionStatus.SKIPPED, StartState.SKIPPED_BY_QLIK),
        (ExecutionStatus.NEVER_STARTED, StartState.UNKNOWN),
        (99, StartState.UNKNOWN),
    ],
)
def test_the_end_of_an_execution_is_that_of_its_starts(status: int, state: StartState) -> None:
    assert end_of(execution(status))[0] is state


def test_an_end_that_nobody_saw_is_unknown() -> None:
    assert end_of(None) == (StartState.UNKNOWN, "unknown")


def test_an_event_keeps_false_and_0_and_leaves_out_what_has_no_value() -> None:
    made = event("failed", TASK, ["r"], durationMs=0, adopted=False, message="", details=[], node=None)
    assert made["durationMs"] == 0
    assert made["adopted"] is False
    assert not {"message", "details", "node"} & set(made)


def test_an_event_is_known_again_by_its_execution_else_by_its_first_request() -> None:
    assert event("started", TASK, ["r", "s"], execution_id="e")["eventId"] == "e/started"
    assert event("queued", TASK, ["r", "s"])["eventId"] == "r/task/queued"


def test_why_an_execution_was_aborted_is_said_of_aborted_ones_only() -> None:
    assert outcome(execution(ExecutionStatus.ABORTED), abort_reason=2)["reason"] == "timeout"
    assert outcome(execution(ExecutionStatus.ABORTED), abort_reason=9)["reason"] is None
    assert outcome(execution(ExecutionStatus.FINISHED_FAIL), abort_reason=2)["reason"] is None


def test_times_of_an_outcome_are_written_in_utc() -> None:
    began = datetime(2031, 1, 31, 8, tzinfo=UTC)
    assert outcome(execution(7, started=began))["startedAt"] == "2031-01-31T08:00:00.000Z"
    assert outcome(None) == {}
