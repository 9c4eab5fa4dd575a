"""What once went wrong with executions and those who wait for their end, in the smallest way."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Execution, Task
from butler_mqtt.errors import QlikRefused
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting.dispatcher import ENDS_OF_A_TURN
from tests.pipeline.fixtures import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.site_double import Site


def events(harness: Harness, kind: str = "") -> list[dict[str, Any]]:
    published = [json.loads(one.payload) for one in harness.broker.events]
    return [one for one in published if kind in {"", one["event"]}]


def answers(harness: Harness, correlation: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.payload) for one in harness.broker.published if one.correlation == correlation]


def steps(harness: Harness, number: int = 30) -> None:
    for _ in range(number):
        harness.step()


def pass_seconds(harness: Harness, seconds: float) -> None:
    """Step on for so long: what must not happen has no event to wait for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        harness.step()


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_repetition_that_waits_for_the_end_gets_the_reply_its_request_got(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "taskId": task})
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"again")
    harness.until(lambda: answers(harness, b"again"))
    assert answers(harness, b"again") == [harness.replies()[0]]


def test_a_sender_that_waits_for_the_end_may_ask_for_the_decision_without_a_word_in_the_log(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "butler_mqtt")
    task = harness.site.add("Sales")
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"end")
    harness.ask({"requestId": "a", "taskId": task}, correlation=b"decision")
    assert [one for one in caplog.records if getattr(one, "action", "") == "request_repeated"] == []
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"})
    harness.turn()
    again = [one for one in caplog.records if getattr(one, "action", "") == "request_repeated"]
    assert [one.getMessage() for one in again] == ["request a came again"]


def test_a_repetition_in_the_turn_of_the_end_gets_the_reply_at_the_end(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"end")
    harness.until(lambda: harness.site.posts)
    steps(harness, 3)
    harness.site.end(task)
    # The end and the repetition are taken in together.
    while not harness.pipeline.dispatcher.tracker.polling:
        harness.turn()
    harness.follow()
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"again")
    harness.until(lambda: answers(harness, b"again"))
    assert answers(harness, b"again") == answers(harness, b"end")
    assert answers(harness, b"end")[0]["tasksStarted"][0]["result"] == "succeeded"
    assert answers(harness, b"end")[0]["outcome"] == "succeeded"


def test_a_repetition_while_another_waits_for_the_end_is_answered_once(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"end")
    harness.until(lambda: harness.site.posts)
    steps(harness, 3)
    harness.send({"requestId": "a", "taskId": task}, correlation=b"again")
    harness.until(lambda: answers(harness, b"again"))
    harness.site.end(task)
    harness.until(lambda: answers(harness, b"end"))
    steps(harness, 5)
    assert [len(answers(harness, one)) for one in (b"end", b"again")] == [1, 1]
    assert [answers(harness, one)[0].get("outcome") for one in (b"end", b"again")] == ["succeeded", None]


def test_a_refused_poll_holds_a_waiting_start_no_longer_than_the_greatest_pause_of_one_that_waits(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, most_poll=3600.0))
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.site.execution_errors.append(QlikRefused("403: inactive", 403))
    harness.until(lambda: not harness.site.execution_errors)
    harness.ask({"taskId": task})
    harness.site.end(task)
    harness.until(lambda: len(harness.site.posts) == 2 and harness.site.running(task))


def test_an_execution_whose_result_is_gone_is_reported_with_code_and_details(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, result_lag=0.1))
    task = harness.site.add("Sales")
    harness.send({"taskId": task, "wait": "finished"}, correlation=b"end")
    harness.until(lambda: harness.site.posts)
    steps(harness, 3)
    harness.site.history[task].clear()
    harness.until(lambda: answers(harness, b"end"))
    [entry] = answers(harness, b"end")[0]["tasksFailed"]
    assert entry["status"] == "unknown"
    assert entry["code"] == "outcome_unknown"
    assert entry["details"]


def test_the_status_never_started_is_reported_with_code_and_details(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task, "wait": "finished"}, correlation=b"end")
    harness.until(lambda: harness.site.posts)
    harness.site.end(task, 0)
    harness.until(lambda: answers(harness, b"end"))
    [entry] = answers(harness, b"end")[0]["tasksFailed"]
    assert (entry["status"], entry["code"]) == ("unknown", "outcome_unknown")
    assert entry["details"]


def test_an_execution_waited_for_and_then_adopted_tells_that_it_runs(harness: Harness) -> None:
    """While nothing of ours was served by it, nothing was published and nothing may count as published."""
    task = harness.site.add("Sales")
    first = harness.site.begin(task)
    harness.ask({"requestId": "a", "taskId": task})
    harness.site.pass_time(5)
    harness.site.end(task)

    def somebody_else_is_faster(site: Site, asked: Task) -> str:
        site.begin(asked.id)
        return EMPTY_GUID

    harness.site.script.append(somebody_else_is_faster)
    harness.until(lambda: events(harness, "started"))
    [started] = events(harness, "started")
    assert started["executionId"] != first
    harness.until(lambda: events(harness, "running"))


def test_a_start_that_expires_while_it_waits_is_not_answered_as_queued(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.send({"taskId": task, "wait": "finished", "expiresAt": soon(0.3)}, correlation=b"end")
    harness.until(lambda: answers(harness, b"end"))
    [answer] = answers(harness, b"end")
    assert "tasksQueued" not in answer
    assert (answer["status"], answer["outcome"]) == ("failed", "failed")


def test_requests_behind_full_task_queues_are_not_refused_while_the_server_answers(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(
        Settings(start_task=StartTask(max_concurrent_reloads=1, request_deadline_seconds=0.5)),
        qlik_timings=replace(SHORT_QLIK, most_planned=2),
    )
    for number in range(3):
        harness.ask({"taskId": harness.site.add(f"Task {number}")})
    for number in range(3, 6):
        harness.send({"taskId": harness.site.add(f"Task {number}")})
    harness.turn()
    # Two starts wait for a slot, which is as many as are decided; the server answers what it is asked.
    pass_seconds(harness, 0.8)
    assert [one.get("code") for one in harness.replies()] == [None] * len(harness.replies())


def test_a_task_kept_busy_by_short_foreign_runs_is_not_reported_as_not_started(harness: Harness) -> None:
    """One that began after the request and is over before the snapshot has loaded what was asked for."""
    task = harness.site.add("Sales")

    def short_foreign_run(site: Site, asked: Task) -> str:
        site.pass_time(3)
        site.begin(asked.id)
        site.pass_time(1)
        site.end(asked.id)
        return EMPTY_GUID

    harness.site.script.extend([short_foreign_run] * 5)
    reply = harness.ask({"taskId": task})
    assert reply["status"] == "ok", reply


def test_an_id_of_a_foreign_execution_that_began_before_a_late_start_does_not_serve_it(
    harness: Harness,
) -> None:
    """Where a start of a running task answers with the running execution's id."""
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.ask({"requestId": "a", "taskId": task})
    harness.site.pass_time(5)
    harness.site.end(task)
    began: list[str] = []

    def same(site: Site, asked: Task) -> str:
        running: Execution | None = site.running(asked.id)
        if running is None:
            return str(site.start_now(asked))
        return str(running.id)

    # Another foreign execution begins before the end of the first is seen; then a second request comes.
    harness.turn()
    began.append(harness.site.begin(task))
    harness.site.pass_time(20)
    harness.site.script.extend([same] * 20)
    harness.send({"requestId": "b", "taskId": task}, correlation=b"b")
    harness.turn()
    steps(harness, 60)
    served = [one for one in events(harness, "started") if "b" in one["requestIds"]]
    assert not served, served
    harness.site.end(task)
    harness.until(lambda: [one for one in events(harness, "started") if "b" in one["requestIds"]])


def test_starts_due_together_are_not_refused_for_a_silence_nobody_asked_in(make_harness: MakeHarness) -> None:
    harness = make_harness(
        Settings(start_task=StartTask(request_deadline_seconds=1.0, max_concurrent_reloads=2))
    )
    due = soon(1.5)
    tasks = [harness.site.add(f"Task {number}") for number in range(8)]
    harness.send({"taskId": tasks, "notBefore": due, "wait": "finished"}, correlation=b"end")
    pass_seconds(harness, 1.6)

    def over() -> bool:
        for task in tasks:
            if harness.site.running(task):
                harness.site.end(task)
        return bool(answers(harness, b"end"))

    harness.until(over)
    assert answers(harness, b"end")[0]["totalTasksStarted"] == 8


def test_a_running_executions_id_given_for_a_start_is_not_taken_for_a_new_one(harness: Harness) -> None:
    """The task was found idle a moment ago, for another request; since then somebody else has started it."""
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "taskId": task})
    harness.site.end(task)
    foreign = harness.site.begin(task)
    harness.site.pass_time(4)
    harness.site.script.append(lambda _site, _task: foreign)
    reply = harness.ask({"requestId": "b", "taskId": task})
    assert "tasksQueued" in reply, reply


def test_an_id_that_is_reconciled_is_not_exchanged_for_an_older_execution(harness: Harness) -> None:
    """Somebody else's execution has just ended when ours begins; both are new to the journal."""
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "taskId": task, "dryRun": True})
    harness.site.begin(task)
    harness.site.end(task)
    [entry] = harness.ask({"requestId": "b", "taskId": task})["tasksStarted"]
    assert "adopted" not in entry
    assert entry["executionId"] == harness.site.history[task][0].id


def test_an_id_the_server_does_not_show_yet_is_believed(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "taskId": task, "dryRun": True})
    harness.site.script.append(lambda _site, _task: "0000000a-eeee-4000-8000-00000000000a")
    [entry] = harness.ask({"requestId": "b", "taskId": task})["tasksStarted"]
    assert entry["executionId"] == "0000000a-eeee-4000-8000-00000000000a"
    assert "adopted" not in entry


def test_the_ends_of_many_executions_leave_turns_to_requests(harness: Harness) -> None:
    tasks = [harness.site.add(f"Sales {number}") for number in range(2 * ENDS_OF_A_TURN + 1)]
    for task in tasks:
        harness.send({"taskId": task})
    harness.until(lambda: len(events(harness, "started")) == len(tasks))
    for task in tasks:
        harness.site.end(task)
    in_one_turn, before = 0, 0
    while before < len(tasks):
        harness.step()
        ended = sum(run["ended_at"] is not None for run in harness.rows(tables.runs))
        in_one_turn, before = max(in_one_turn, ended - before), ended
    assert in_one_turn <= ENDS_OF_A_TURN
