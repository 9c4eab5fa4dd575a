"""What the server may show of an execution, and what is made of it: stepped by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.domain.model import Execution, ExecutionStatus
from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.starting import execution_tracker
from tests.pipeline.harness import House
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


def begun(house: House, **fields: Any) -> str:
    """Start a task whose end somebody waits for, and give its id."""
    task = house.site.add("Sales", **fields)
    house.send({"requestId": "r", "taskId": task, "wait": "finished"}, correlation=b"end")
    house.until(lambda: house.rows(tables.runs) and house.rows(tables.runs)[0]["state"] == "executing")
    return task


def show(house: House, task: str, **fields: Any) -> None:
    """Let the server show the newest execution of a task so."""
    newest, *older = house.site.history[task]
    house.site.history[task] = [replace(newest, **fields), *older]


@pytest.mark.parametrize(("status", "expected"), ENDS.items())
def test_a_final_status_without_a_session_is_the_end(
    house: House, status: int, expected: tuple[str, str]
) -> None:
    task = begun(house)
    house.site.end(task, status)
    house.until(lambda: answers(house, b"end"))
    kind, state = expected
    assert [one["event"] for one in events(house) if one["event"] not in {"started", "running"}] == [kind]
    assert [row["state"] for row in house.rows(tables.starts)] == [state]
    assert house.rows(tables.runs)[0]["result"] == state


@pytest.mark.parametrize("status", [*sorted(set(ExecutionStatus) - set(ENDS)), 15, 99, -1])
def test_any_other_status_is_active_an_unknown_one_too(house: House, status: int) -> None:
    task = begun(house)
    show(house, task, status=int(status))
    steps(house, 20)
    assert [one["event"] for one in events(house) if one["event"] not in {"started", "running"}] == [
        one for one in PROGRESS.get(int(status), []) if one != "running"
    ]
    assert [row["state"] for row in house.rows(tables.starts)] == ["running"]
    assert len(house.pipeline.starter.follower) == 1


def test_a_failed_attempt_is_not_the_end_while_the_session_is_there(house: House) -> None:
    task = begun(house)
    house.until(lambda: events(house, "running"))
    for status in (8, 10, 2, 8, 10, 2):
        show(house, task, status=status, session=True)
        steps(house, 5)
    house.site.end(task, 7)
    house.until(lambda: answers(house, b"end"))
    assert [one["event"] for one in events(house)] == ["started", "running", "retrying", "succeeded"]


@pytest.mark.parametrize("shown", ["nothing", "an active result"])
def test_a_result_that_does_not_come_after_the_session_is_unknown_in_the_end(
    house: House, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_tracker, "RESULT_LAG_SECONDS", 0.2)
    task = begun(house)
    if shown == "nothing":
        house.site.history[task].clear()
    else:
        show(house, task, session=False, status=2)
    steps(house, 5)
    assert not events(house, "unknown")
    house.until(lambda: answers(house, b"end"))
    [told] = events(house, "unknown")
    assert told["requestIds"] == ["r"]
    assert len(house.pipeline.starter.follower) == 0


def test_what_waits_behind_an_execution_does_not_wait_for_its_result(house: House) -> None:
    task = house.site.add("Sales")
    house.site.begin(task)
    house.ask({"requestId": "a", "taskId": task})
    house.site.history[task].clear()
    house.until(lambda: house.site.posts)
    assert house.site.posts == [task]
    assert not events(house, "succeeded")


def test_what_waits_behind_a_failed_execution_does_not_wait_for_its_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.site, "script_log", lambda *_: None)
    monkeypatch.setattr(execution_tracker, "LOG_PAUSE_SECONDS", 30.0)
    task = begun(house)
    house.ask({"requestId": "b", "taskId": task})
    house.site.end(task, 8)
    house.until(lambda: len(house.site.posts) == 2)
    assert not events(house, "failed")


@pytest.mark.parametrize("error", [QlikUnavailable("500"), QlikRefused("403", 403)])
def test_a_log_that_cannot_be_read_costs_the_others_nothing(
    house: House, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_task_id: str, _execution: Execution, _lines: int) -> list[str]:
        raise error

    monkeypatch.setattr(house.site, "script_log", broken)
    tasks = [house.site.add(f"Task {number}") for number in range(4)]
    house.ask({"requestId": "r", "taskId": tasks})
    for place, task in enumerate(tasks):
        house.site.end(task, 8 if place % 2 else 7)
    house.until(lambda: len(events(house, "failed")) == 2)
    assert len(events(house, "succeeded")) == 2
    assert all("scriptLog" not in one for one in events(house, "failed"))


def test_an_outage_while_executions_are_followed_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = begun(house)
    real, faults = house.site.executions, [QlikUnavailable("refused"), QlikRefused("403", 403)]

    def executions(ids: list[str]) -> dict[str, Execution | None]:
        if faults:
            raise faults.pop()
        return real(ids)

    monkeypatch.setattr(house.site, "executions", executions)
    monkeypatch.setattr(execution_tracker, "MOST_SECONDS", 0.01)
    house.site.end(task)
    house.until(lambda: answers(house, b"end"))
    assert not faults
    assert [one["event"] for one in events(house)] == ["started", "succeeded"]


def test_an_execution_shown_by_two_looks_at_once_ends_once(house: House) -> None:
    """A look may be under way when the journal is read again, and its answer come after the next one."""
    task = begun(house)
    house.site.end(task)
    while not events(house, "succeeded"):
        house.turn()
        house.journal.fail("before")
        house.step()
        house.step()
    steps(house, 5)
    assert [one["event"] for one in events(house)].count("succeeded") == 1
