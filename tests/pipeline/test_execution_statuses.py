"""What the server may show of an execution, and what is made of it: stepped by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.domain.model import ExecutionStatus
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.test_execution_ends import answers, events, steps

ENDS = {
    0: ("unknown", "unknown"),
    6: ("aborted", "aborted"),
    7: ("succeeded", "succeeded"),
    8: ("failed", "failed"),
    9: ("skipped", "skippedByQlik"),
    11: ("failed", "failed"),
    12: ("failed", "failed"),
}
PROGRESS = {2: ["running"], 10: ["retrying"], 14: ["running"]}


def begun(harness: Harness, **fields: Any) -> str:
    """Start a task whose end somebody waits for, and give its id."""
    task = harness.site.add("Sales", **fields)
    harness.send({"requestId": "r", "taskId": task, "wait": "finished"}, correlation=b"end")
    harness.until(lambda: harness.rows(tables.runs) and harness.rows(tables.runs)[0]["state"] == "executing")
    return task


def show(harness: Harness, task: str, **fields: Any) -> None:
    """Let the server show the newest execution of a task so."""
    newest, *older = harness.site.history[task]
    harness.site.history[task] = [replace(newest, **fields), *older]


@pytest.mark.parametrize(("status", "expected"), ENDS.items())
def test_a_final_status_without_a_session_is_the_end(
    harness: Harness, status: int, expected: tuple[str, str]
) -> None:
    task = begun(harness)
    harness.site.end(task, status)
    harness.until(lambda: answers(harness, b"end"))
    kind, state = expected
    assert [one["event"] for one in events(harness) if one["event"] not in {"started", "running"}] == [kind]
    assert [row["state"] for row in harness.rows(tables.starts)] == [state]
    assert harness.rows(tables.runs)[0]["result"] == state


@pytest.mark.parametrize("status", [*sorted(set(ExecutionStatus) - set(ENDS)), 15, 99, -1])
def test_any_other_status_is_active_an_unknown_one_too(harness: Harness, status: int) -> None:
    task = begun(harness)
    show(harness, task, status=int(status))
    steps(harness, 20)
    assert [one["event"] for one in events(harness) if one["event"] not in {"started", "running"}] == [
        one for one in PROGRESS.get(int(status), []) if one != "running"
    ]
    assert [row["state"] for row in harness.rows(tables.starts)] == ["running"]
    assert len(harness.pipeline.dispatcher.tracker) == 1


def test_a_failed_attempt_is_not_the_end_while_the_session_is_there(harness: Harness) -> None:
    task = begun(harness)
    harness.until(lambda: events(harness, "running"))
    for status in (8, 10, 2, 8, 10, 2):
        show(harness, task, status=status, session=True)
        steps(harness, 5)
    harness.site.end(task, 7)
    harness.until(lambda: answers(harness, b"end"))
    assert [one["event"] for one in events(harness)] == ["started", "running", "retrying", "succeeded"]


def test_a_retry_whose_own_status_no_poll_showed_is_reported_by_the_result_before(harness: Harness) -> None:
    task = begun(harness)
    harness.until(lambda: events(harness, "running"))
    show(harness, task, status=2, session=True, earlier_results=("of the first attempt",))
    steps(harness, 5)
    harness.site.end(task, 7)
    harness.until(lambda: answers(harness, b"end"))
    assert [one["event"] for one in events(harness)] == ["started", "running", "retrying", "succeeded"]


@pytest.mark.parametrize("shown", ["nothing", "an active result"])
def test_a_result_that_does_not_come_after_the_session_is_unknown_in_the_end(
    make_harness: MakeHarness, shown: str
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, result_lag=0.2))
    task = begun(harness)
    if shown == "nothing":
        harness.site.history[task].clear()
    else:
        show(harness, task, session=False, status=2)
    steps(harness, 5)
    assert not events(harness, "unknown")
    harness.until(lambda: answers(harness, b"end"))
    [event] = events(harness, "unknown")
    assert event["requestIds"] == ["r"]
    assert len(harness.pipeline.dispatcher.tracker) == 0


def test_what_waits_behind_an_execution_does_not_wait_for_its_result(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.ask({"requestId": "a", "taskId": task})
    harness.site.history[task].clear()
    harness.until(lambda: harness.site.posts)
    assert harness.site.posts == [task]
    assert not events(harness, "succeeded")


def test_what_waits_behind_a_failed_execution_does_not_wait_for_its_log(make_harness: MakeHarness) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, script_log_pause=30.0))
    harness.site.log_lines = None
    task = begun(harness)
    harness.ask({"requestId": "b", "taskId": task})
    harness.site.end(task, 8)
    harness.until(lambda: len(harness.site.posts) == 2)
    assert not events(harness, "failed")


@pytest.mark.parametrize("error", [QlikUnavailable("500"), QlikRefused("403", 403)])
def test_a_log_that_cannot_be_read_costs_the_others_nothing(harness: Harness, error: QlikError) -> None:
    harness.site.log_error = error
    tasks = [harness.site.add(f"Task {number}") for number in range(4)]
    harness.ask({"requestId": "r", "taskId": tasks})
    for place, task in enumerate(tasks):
        harness.site.end(task, 8 if place % 2 else 7)
    harness.until(lambda: len(events(harness, "failed")) == 2)
    assert len(events(harness, "succeeded")) == 2
    assert all("scriptLog" not in one for one in events(harness, "failed"))


def test_an_outage_while_executions_are_tracked_ends_nothing(harness: Harness) -> None:
    # From before the start, so that no poll finds the execution still running.
    errors = harness.site.execution_errors
    errors.extend([QlikUnavailable("refused"), QlikRefused("403", 403)] * 20)
    task = begun(harness)
    harness.site.end(task)
    harness.until(lambda: len(errors) <= 36)
    assert not answers(harness, b"end")
    errors.clear()
    harness.until(lambda: answers(harness, b"end"))
    assert [one["event"] for one in events(harness)] == ["started", "succeeded"]


def test_an_execution_shown_by_two_polls_at_once_ends_once(harness: Harness) -> None:
    """A poll may be in flight when the journal is read again, and its answer come after the next one."""
    task = begun(harness)
    harness.site.end(task)
    while not events(harness, "succeeded"):
        harness.turn()
        harness.journal.fail("before")
        harness.step()
        harness.step()
    steps(harness, 5)
    assert [one["event"] for one in events(harness)].count("succeeded") == 1


def test_the_wait_for_a_result_begins_anew_when_a_session_is_there_again(make_harness: MakeHarness) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, result_lag=0.3))
    task = begun(harness)
    show(harness, task, session=False, status=2)
    steps(harness, 5)
    show(harness, task, session=True, status=2)
    gone_at = time.monotonic()
    harness.until(lambda: time.monotonic() > gone_at + 0.3)
    show(harness, task, session=False, status=2)
    steps(harness, 5)
    assert not events(harness, "unknown")
    harness.site.end(task, 7)
    harness.until(lambda: answers(harness, b"end"))
    assert events(harness, "succeeded")
