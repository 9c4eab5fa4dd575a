"""Requests that are taken back, at every instant of a start's life."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Task
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.journal import held_requests, tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, Site, cut_after_effect, cut_before_effect

LATER = "2099-01-01T00:00:00Z"
ALLOWED = Settings(start_task=StartTask(allow_stop=True))


@pytest.fixture
def stopping(make_harness: MakeHarness) -> Harness:
    """Give a harness in which a cancel may stop executions."""
    return make_harness(ALLOWED)


def reply_to(harness: Harness, request_id: str) -> dict[str, Any]:
    """Step until the request has its reply, and give it."""
    harness.until(lambda: any(one["requestId"] == request_id for one in harness.replies()))
    # After a kill what was not confirmed is published again.
    [reply] = {json.dumps(one) for one in harness.replies() if one["requestId"] == request_id}
    found: dict[str, Any] = json.loads(reply)
    return found


def cancel(harness: Harness, request_id: str = "r", **fields: Any) -> dict[str, Any]:
    """Cancel a request and give the reply to that."""
    harness.send({"requestId": "c", "cancel": request_id, **fields})
    return reply_to(harness, "c")


def ids(reply: dict[str, Any], name: str) -> list[str]:
    return [entry["taskId"] for entry in reply.get(name, ())]


def states(harness: Harness) -> list[str]:
    return [str(row["state"]) for row in harness.rows(tables.starts)]


def kinds(harness: Harness) -> list[str]:
    return [json.loads(one.payload)["event"] for one in harness.broker.events]


def send(harness: Harness, **fields: Any) -> str:
    """Ask for a new task as the request `r`, and give the task's id."""
    task = harness.site.add("Sales")
    harness.send({"requestId": "r", "taskId": task, **fields})
    return task


def step_until(harness: Harness, *wanted: str) -> None:
    harness.until(lambda: states(harness) == list(wanted))


# ---- which request is meant


def test_an_unknown_id_is_said_to_be_unknown(harness: Harness) -> None:
    assert cancel(harness, "nobody")["code"] == "unknown_request"


def test_a_request_that_comes_after_its_cancel_is_not_meant(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"requestId": "c", "cancel": "r"})
    harness.send({"requestId": "r", "taskId": task})
    assert reply_to(harness, "c")["code"] == "unknown_request"
    assert ids(reply_to(harness, "r"), "tasksStarted") == [task]


def test_a_cancel_cannot_be_taken_back(harness: Harness) -> None:
    send(harness, notBefore=LATER)
    reply_to(harness, "r")
    cancel(harness)
    refused = harness.ask({"requestId": "d", "cancel": "c"})
    assert refused["code"] == "invalid_request"
    assert "a cancel itself" in refused["details"]


def test_a_cancel_cannot_take_itself_back(harness: Harness) -> None:
    assert cancel(harness, "c")["code"] == "invalid_request"


def test_a_request_that_could_not_be_read_is_over(harness: Harness) -> None:
    harness.ask({"requestId": "r", "tags": "x"})
    reply = cancel(harness)
    assert (reply["status"], reply["tasksCancelled"]) == ("ok", [])


def test_a_request_that_is_over_has_nothing_to_take_back(harness: Harness) -> None:
    task = send(harness)
    step_until(harness, "running")
    harness.site.end(task)
    step_until(harness, "succeeded")
    reply = cancel(harness)
    assert reply == {
        "requestId": "c",
        "status": "ok",
        "cancelled": "r",
        "tasksCancelled": [],
        "tasksStarted": [],
        "tasksNotFound": [],
        "totalTasksStarted": 0,
    }


def test_a_second_cancel_finds_nothing_left(harness: Harness) -> None:
    send(harness, notBefore=LATER)
    reply_to(harness, "r")
    cancel(harness)
    assert harness.ask({"requestId": "d", "cancel": "r"})["tasksCancelled"] == []


def test_a_cancel_that_is_sent_again_has_the_same_reply(harness: Harness) -> None:
    task = send(harness, notBefore=LATER)
    reply_to(harness, "r")
    first = cancel(harness)
    assert ids(first, "tasksCancelled") == [task]
    assert harness.ask({"requestId": "c", "cancel": "r"}) == first


def test_a_cancel_through_rest_is_the_same_request(harness: Harness) -> None:
    send(harness, notBefore=LATER)
    reply_to(harness, "r")
    first = cancel(harness)
    answers = harness.call({"requestId": "c", "cancel": "r"})
    harness.until(lambda: answers)
    assert json.loads(answers[0]) == first


def hold_all(harness: Harness) -> None:
    """Hold what is open, as a restored backup does, and start the daemon on it."""
    harness.crash()
    with harness.journal_file() as connection:
        held_requests.hold(connection, now_ms())
    harness.start()


def test_a_request_that_is_held_is_left_to_the_operator(harness: Harness) -> None:
    send(harness, notBefore=LATER)
    reply_to(harness, "r")
    hold_all(harness)
    assert cancel(harness)["code"] == "request_held"
    assert states(harness) == ["waiting"]


def test_a_held_cancel_that_an_operator_discards_is_refused(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    send(harness)
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    hold_all(harness)
    harness.crash()
    with harness.journal_file() as connection:
        held_requests.release(connection, (), cancel=True)
    harness.start()
    assert reply_to(harness, "c")["code"] == "cancelled"


# ---- what has not begun


def test_a_request_whose_tasks_are_not_known_is_refused_as_cancelled(harness: Harness) -> None:
    send(harness)
    harness.turn()
    harness.send({"requestId": "c", "cancel": "r"})
    assert reply_to(harness, "r")["code"] == "cancelled"
    assert reply_to(harness, "c")["tasksCancelled"] == []
    harness.quiet()
    assert harness.site.posts == []


def test_a_request_that_is_taken_back_is_not_decided_when_its_tasks_are_found(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    send(harness)
    harness.turn()
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    for act in (harness.find, harness.turn):
        act()
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_a_request_and_its_cancel_in_one_turn_start_nothing(harness: Harness) -> None:
    send(harness)
    assert cancel(harness)["status"] == "ok"
    assert reply_to(harness, "r")["code"] == "cancelled"
    assert harness.site.posts == []


def test_a_request_that_is_only_on_disk_is_taken_back_with_all_its_deliveries(harness: Harness) -> None:
    harness.pipeline.turns.backlog._limit = 0
    send(harness)
    harness.turn()
    assert not harness.pipeline.turns._ledger.requests.open
    harness.send({"requestId": "r", "taskId": harness.site.add("x") and next(iter(harness.site.tasks))})
    harness.send({"requestId": "c", "cancel": "r"})
    harness.until(lambda: len(harness.replies()) == 3)
    assert [one.get("code") for one in harness.replies() if one["requestId"] == "r"] == ["cancelled"] * 2
    assert harness.site.posts == []


def test_what_waits_for_its_time_never_begins(harness: Harness) -> None:
    task = send(harness, notBefore=LATER)
    assert ids(reply_to(harness, "r"), "tasksQueued") == [task]
    [entry] = cancel(harness)["tasksCancelled"]
    assert entry == {"taskId": task, "taskName": "Sales", "status": "cancelled"}
    assert states(harness) == ["cancelled"]
    assert kinds(harness) == ["queued", "cancelled"]


def test_what_waits_behind_an_execution_never_begins(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.send({"requestId": "r", "taskId": task})
    reply_to(harness, "r")
    assert ids(cancel(harness), "tasksCancelled") == [task]
    harness.site.end(task)
    for _ in range(20):
        harness.step()
    assert harness.site.posts == []


def test_others_that_wait_with_it_go_on(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    for one in ("r", "other"):
        harness.send({"requestId": one, "taskId": task})
        reply_to(harness, one)
    cancel(harness)
    harness.site.end(task)
    harness.until(lambda: harness.site.posts == [task])
    step_until(harness, "cancelled", "running")


def test_what_waits_for_capacity_never_begins(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_reloads=1)))
    first, second = harness.site.add("First"), harness.site.add("Second")
    harness.ask({"requestId": "before", "taskId": first})
    harness.send({"requestId": "r", "taskId": second})
    assert reply_to(harness, "r")["tasksQueued"][0]["reason"] == "capacity"
    assert ids(cancel(harness), "tasksCancelled") == [second]
    harness.site.end(first)
    for _ in range(20):
        harness.step()
    assert harness.site.posts == [first]


def test_what_waits_for_the_server_to_come_back_never_begins(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(QlikUnavailable("connection refused"))
    harness.send({"requestId": "r", "taskId": task})
    harness.until(lambda: not harness.site.script)
    assert ids(cancel(harness), "tasksCancelled") == [task]
    assert reply_to(harness, "r")["code"] == "cancelled"
    harness.quiet()
    assert harness.site.posts == []
    assert [row["state"] for row in harness.rows(tables.runs)] == ["none"]


def test_a_task_is_free_for_the_next_request_after_a_cancel(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(QlikUnavailable("connection refused"))
    harness.send({"requestId": "r", "taskId": task})
    harness.until(lambda: not harness.site.script)
    cancel(harness)
    assert ids(harness.ask({"taskId": task}), "tasksStarted") == [task]


def test_of_a_run_that_is_to_be_posted_again_only_the_others_share(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    for one in ("r", "other"):
        harness.send({"requestId": one, "taskId": task})
        reply_to(harness, one)
    harness.site.script.append(QlikUnavailable("connection refused"))
    harness.site.end(task)
    harness.until(lambda: not harness.site.script)
    assert ids(cancel(harness), "tasksCancelled") == [task]
    step_until(harness, "cancelled", "running")
    assert harness.site.posts == [task]


# ---- the POST


def test_a_post_that_no_thread_has_begun_is_withdrawn(harness: Harness) -> None:
    task = send(harness)
    harness.turn()
    harness.find()
    harness.turn()
    assert harness.pipeline.dispatcher.post_workers.in_hand
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    assert ids(reply_to(harness, "c"), "tasksCancelled") == [task]
    assert harness.site.posts == []
    assert ids(harness.ask({"taskId": task}), "tasksStarted") == [task]


def test_a_cancel_during_the_post_waits_for_its_outcome(harness: Harness) -> None:
    def cancelled_meanwhile(site: Site, task: Task) -> str | None:
        harness.send({"requestId": "c", "cancel": "r"})
        for _ in range(3):
            harness.turn()
        assert not [one for one in harness.replies() if one["requestId"] == "c"]
        return site.start_now(task)

    harness.site.script.append(cancelled_meanwhile)
    task = send(harness)
    reply = reply_to(harness, "c")
    [entry] = reply["tasksRunning"]
    assert (entry["taskId"], entry["status"]) == (task, "running")
    assert entry["executionId"] == harness.rows(tables.starts)[0]["execution_id"]
    assert ids(reply_to(harness, "r"), "tasksStarted") == [task]


def test_a_start_in_doubt_that_began_runs_on(harness: Harness) -> None:
    harness.site.script.append(cut_after_effect)
    task = send(harness)
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    [entry] = cancel(harness)["tasksRunning"]
    assert (entry["taskId"], entry["adopted"], entry["sharedWith"]) == (task, True, [])


def test_a_start_in_doubt_that_began_nothing_is_not_posted_again(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    task = send(harness)
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    assert ids(cancel(harness), "tasksCancelled") == [task]
    assert reply_to(harness, "r")["code"] == "cancelled"
    assert harness.site.posts == []


def test_a_start_in_doubt_that_nobody_can_tell_is_named_so(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    harness.site.clock = None
    harness.site.shows_last = False
    send(harness)
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    reply = cancel(harness)
    [entry] = reply["tasksRunning"]
    assert (reply["status"], entry["status"], entry["code"]) == ("partial", "unknown", "outcome_unknown")


def test_a_start_that_met_a_running_execution_after_the_cancel_does_not_wait(harness: Harness) -> None:
    task = harness.site.add("Sales")

    def busy(site: Site, known: Task) -> str | None:
        site.begin(known.id)
        harness.send({"requestId": "c", "cancel": "r"})
        harness.turn()
        return site.start_now(known)

    harness.ask({"requestId": "before", "taskId": task})
    harness.site.end(task)
    harness.site.script.append(busy)
    harness.send({"requestId": "r", "taskId": task})
    reply = reply_to(harness, "c")
    assert ids(reply, "tasksCancelled") or ids(reply, "tasksRunning")
    assert harness.site.posts == [task]


# ---- what runs


def test_what_runs_runs_on_and_is_named(harness: Harness) -> None:
    task = send(harness)
    reply_to(harness, "r")
    reply = cancel(harness)
    [entry] = reply["tasksRunning"]
    execution = harness.rows(tables.starts)[0]["execution_id"]
    assert entry == {"taskId": task, "taskName": "Sales", "status": "running", "executionId": execution}
    assert (reply["status"], harness.site.stops) == ("ok", [])


def test_stopping_is_forbidden_unless_the_configuration_allows_it(harness: Harness) -> None:
    send(harness, notBefore=LATER)
    reply_to(harness, "r")
    assert cancel(harness, stopRunning=True)["code"] == "forbidden"
    assert states(harness) == ["waiting"]


def test_what_the_request_alone_began_is_stopped(stopping: Harness) -> None:
    task = send(stopping, wait="finished")
    step_until(stopping, "running")
    reply = cancel(stopping, stopRunning=True)
    [entry] = reply["tasksStopped"]
    assert (entry["taskId"], entry["status"], reply["tasksCancelled"]) == (task, "stopped", [])
    end = reply_to(stopping, "r")
    assert end["tasksStarted"][0]["result"] == "aborted"
    assert (end["outcome"], stopping.site.stops) == ("failed", [task])
    assert kinds(stopping)[-1] == "aborted"


def test_one_request_can_have_tasks_in_every_list(make_harness: MakeHarness) -> None:
    harness = make_harness(ALLOWED)
    alone, shared, waits = (harness.site.add(name) for name in ("Alone", "Shared", "Waits"))
    harness.site.begin(waits)
    harness.send({"requestId": "other", "taskId": shared, "wait": "finished"})
    harness.send({"requestId": "r", "taskId": [alone, shared, waits], "wait": "finished"})
    harness.until(lambda: sorted(states(harness)) == ["running", "running", "running", "waiting"])
    reply = cancel(harness, stopRunning=True)
    assert ids(reply, "tasksCancelled") == [waits]
    assert ids(reply, "tasksStopped") == [alone]
    [entry] = reply["tasksRunning"]
    assert (entry["taskId"], entry["sharedWith"]) == (shared, ["other"])


def test_an_execution_that_serves_another_request_is_not_stopped(stopping: Harness) -> None:
    task = stopping.site.add("Sales")
    stopping.site.begin(task)
    for one in ("other", "r"):
        stopping.send({"requestId": one, "taskId": task})
        reply_to(stopping, one)
    stopping.site.end(task)
    step_until(stopping, "running", "running")
    [entry] = cancel(stopping, stopRunning=True)["tasksRunning"]
    assert (entry["sharedWith"], stopping.site.stops) == (["other"], [])


def test_an_adopted_execution_is_not_stopped(stopping: Harness) -> None:
    stopping.site.script.append(cut_after_effect)
    send(stopping)
    step_until(stopping, "running")
    [entry] = cancel(stopping, stopRunning=True)["tasksRunning"]
    assert (entry["adopted"], entry["sharedWith"], stopping.site.stops) == (True, [], [])


def test_an_execution_that_ended_before_it_is_stopped_costs_another_ones_nothing(stopping: Harness) -> None:
    task = send(stopping)
    step_until(stopping, "running")
    stopping.send({"requestId": "c", "cancel": "r", "stopRunning": True})
    stopping.turn()
    stopping.site.end(task)
    foreign = stopping.site.begin(task)
    reply = reply_to(stopping, "c")
    assert (reply["status"], reply["tasksCancelled"]) == ("ok", [])
    assert not {"tasksStopped", "tasksRunning"} & set(reply)
    assert stopping.site.stops == []
    running = stopping.site.running(task)
    assert running is not None
    assert running.id == foreign


def test_a_task_of_which_another_execution_runs_too_is_not_stopped(stopping: Harness) -> None:
    task = send(stopping)
    step_until(stopping, "running")
    stopping.site.begin(task)
    reply = cancel(stopping, stopRunning=True)
    assert (reply["status"], reply["tasksRunning"][0]["code"]) == ("partial", "not_stopped")
    assert stopping.site.stops == []


@pytest.mark.parametrize("error", [QlikUnavailable("503"), OutcomeUnknown("cut off")], ids=["down", "cut"])
def test_stopping_is_tried_until_the_server_takes_it(stopping: Harness, error: Exception) -> None:
    task = send(stopping)
    step_until(stopping, "running")
    stopping.site.stop_script.extend([error, error])  # type: ignore[list-item] # each is a QlikError
    reply = cancel(stopping, stopRunning=True)
    assert ids(reply, "tasksStopped") == [task]
    assert stopping.site.stops == [task]


def test_a_stop_whose_answer_was_lost_is_seen_by_the_end(stopping: Harness) -> None:
    def cut(site: Site, task: Task) -> None:
        site.stop_now(task.id)
        raise OutcomeUnknown("cut off")

    stopping.site.stop_script.append(cut)
    task = send(stopping)
    step_until(stopping, "running")
    assert ids(cancel(stopping, stopRunning=True), "tasksStopped") == [task]


def test_a_stop_that_the_server_refuses_is_named(stopping: Harness) -> None:
    stopping.site.stop_script.append(QlikRefused("403 with Forbidden", 403))
    send(stopping)
    step_until(stopping, "running")
    reply = cancel(stopping, stopRunning=True)
    assert (reply["status"], reply["tasksRunning"][0]["code"]) == ("partial", "qrs_forbidden")


def test_a_server_that_stays_away_ends_the_trying(make_harness: MakeHarness) -> None:
    start_task = StartTask(allow_stop=True, request_deadline_seconds=0.3)
    harness = make_harness(Settings(start_task=start_task))
    send(harness)
    step_until(harness, "running")
    harness.site.stop_script.extend([QlikUnavailable("connection refused")] * 10_000)
    reply = cancel(harness, stopRunning=True)
    assert (reply["status"], reply["tasksRunning"][0]["code"]) == ("partial", "qrs_unavailable")


def test_what_waits_behind_a_stopped_execution_begins(stopping: Harness) -> None:
    task = send(stopping)
    step_until(stopping, "running")
    stopping.send({"requestId": "next", "taskId": task})
    reply_to(stopping, "next")
    assert ids(cancel(stopping, stopRunning=True), "tasksStopped") == [task]
    harness = stopping
    harness.until(lambda: harness.site.posts == [task, task])


def test_a_kind_without_executions_is_over(stopping: Harness) -> None:
    task = stopping.site.add("Copy", task_type=3)
    stopping.ask({"requestId": "r", "taskId": task})
    reply = cancel(stopping, stopRunning=True)
    assert (reply["tasksCancelled"], "tasksRunning" in reply) == ([], False)


# ---- the deliveries of the request that is cancelled


def test_what_began_is_told_beside_what_will_not(harness: Harness) -> None:
    begun, waits = harness.site.add("Begun"), harness.site.add("Waits")
    harness.site.begin(waits)
    harness.send({"requestId": "r", "taskId": [begun, waits], "wait": "finished"})
    harness.until(lambda: sorted(states(harness)) == ["running", "waiting"])
    cancel(harness)
    harness.site.end(begun)
    reply = reply_to(harness, "r")
    assert ids(reply, "tasksStarted") == [begun]
    [entry] = reply["tasksFailed"]
    assert (entry["taskId"], entry["status"], entry["code"]) == (waits, "cancelled", "cancelled")
    assert (reply["status"], reply["outcome"]) == ("partial", "partial")


def test_who_waits_for_the_end_of_what_never_began_is_refused(harness: Harness) -> None:
    send(harness, notBefore=LATER, wait="finished")
    step_until(harness, "waiting")
    cancel(harness)
    assert reply_to(harness, "r")["code"] == "cancelled"


def test_what_is_denied_or_not_found_beside_it_did_not_begin_either(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(QlikUnavailable("connection refused"))
    harness.send({"requestId": "r", "taskId": task, "tag": "nobody"})
    harness.until(lambda: not harness.site.script)
    cancel(harness)
    assert reply_to(harness, "r")["code"] == "cancelled"


# ---- a restart


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("fault", [None, cut_after_effect, cut_before_effect], ids=["ok", "after", "before"])
def test_a_kill_between_any_two_steps_of_a_cancel_changes_no_count(
    make_harness: MakeHarness, steps: int, fault: Callable[[Site, Task], str | None] | None
) -> None:
    harness = make_harness(ALLOWED)
    if fault is not None:
        harness.site.script.append(fault)
    send(harness, wait="finished")
    parts = ["turn", "find", "turn", "post"]
    for part in parts:
        getattr(harness, part)()
    harness.send({"requestId": "c", "cancel": "r", "stopRunning": True})
    harness.turn()
    for part in ["turn", "post", "turn", "snapshot", "turn", "post", "turn", "follow"][:steps]:
        getattr(harness, part)()
    harness.restart()
    reply = reply_to(harness, "c")
    lists = [name for name in ("tasksCancelled", "tasksStopped", "tasksRunning") if reply.get(name)]
    if lists == ["tasksRunning"]:
        assert reply["tasksRunning"][0]["adopted"]
        harness.site.end(next(iter(harness.site.tasks)))
    else:
        assert lists in (["tasksCancelled"], ["tasksStopped"], [])
    answer = reply_to(harness, "r")
    harness.quiet()
    assert len(harness.site.posts) <= 1
    assert (answer.get("code") == "cancelled") is (lists == ["tasksCancelled"])
    assert len(harness.rows(tables.deliveries)) == 2


def test_a_cancel_in_doubt_is_remembered_by_a_restart(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    task = send(harness)
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    harness.restart()
    assert ids(reply_to(harness, "c"), "tasksCancelled") == [task]
    assert harness.site.posts == []


def test_what_was_taken_back_before_a_restart_is_in_the_reply_after_it(harness: Harness) -> None:
    doubtful, waits = harness.site.add("Doubtful"), harness.site.add("Waits")
    harness.site.begin(waits)
    harness.site.script.append(cut_before_effect)
    harness.send({"requestId": "r", "taskId": [doubtful, waits]})
    harness.until(lambda: "posted" in [row["state"] for row in harness.rows(tables.runs)])
    harness.until(lambda: sorted(states(harness)) == ["planned", "waiting"])
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    assert sorted(states(harness)) == ["cancelled", "planned"]
    harness.restart()
    assert sorted(ids(reply_to(harness, "c"), "tasksCancelled")) == sorted([doubtful, waits])


def test_a_journal_that_fails_with_the_cancel_takes_it_once(harness: Harness) -> None:
    task = send(harness, notBefore=LATER)
    reply_to(harness, "r")
    for where in ("before", "after"):
        harness.journal.fail(where)
        harness.send({"requestId": where, "cancel": "r"})
        reply_to(harness, where)
    assert ids(reply_to(harness, "before"), "tasksCancelled") == [task]
    assert [row["state"] for row in harness.rows(tables.requests)] == ["closed"] * 3


def test_a_start_that_is_taken_back_from_the_threads_leaves_its_place_to_another(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_starts=1)))
    for number in range(9):
        harness.send({"requestId": f"r{number}", "taskId": harness.site.add(f"Task {number}")})
    harness.turn()
    harness.find()
    harness.turn()
    assert harness.pipeline.dispatcher.in_hand
    for number in range(9):
        harness.send({"cancel": f"r{number}"})
    harness.turn()
    assert harness.pipeline.dispatcher.in_hand == 0
    assert harness.ask({"requestId": "last", "taskName": "Task 0"})["requestId"] == "last"
    assert len(harness.site.posts) == 1


def test_a_cancel_in_the_turn_of_the_decision_lets_nothing_begin(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"requestId": "a", "taskId": task})
    harness.turn()
    harness.find()
    harness.send({"requestId": "c", "cancel": "a"})
    harness.replied(2)
    harness.quiet()
    assert [one["taskId"] for one in reply_to(harness, "c")["tasksCancelled"]] == [task]
    assert harness.site.posts == []


def test_what_was_stopped_when_the_daemon_was_killed_is_reported_as_stopped(stopping: Harness) -> None:
    task = stopping.site.add("Sales")
    stopping.ask({"requestId": "a", "taskId": task})
    stopping.send({"requestId": "c", "cancel": "a", "stopRunning": True})
    while not stopping.site.stops:
        stopping.turn()
        stopping.post()
    stopping.restart()
    assert [one["taskId"] for one in reply_to(stopping, "c")["tasksStopped"]] == [task]
    assert stopping.site.stops == [task]


def test_nothing_is_stopped_before_the_cancel_is_on_disk(stopping: Harness) -> None:
    stopping.ask({"requestId": "a", "taskId": stopping.site.add("Sales")})
    stopping.send({"requestId": "c", "cancel": "a", "stopRunning": True})
    stopping.journal.fail("before", Crash())
    with pytest.raises(Crash):
        stopping.turn()
    stopping.post()
    assert stopping.site.stops == []


def test_what_may_still_serve_another_request_is_not_stopped(stopping: Harness) -> None:
    task = stopping.site.add("Sales")
    # The other one has read the task before the execution began, and its POST is under way.
    for body in ({"requestId": "a", "taskId": task}, {"requestId": "b", "taskName": "Sales"}):
        stopping.send(body)
        stopping.turn()
        stopping.find()
        stopping.turn()
    stopping.post()
    stopping.turn()
    stopping.send({"requestId": "c", "cancel": "a", "stopRunning": True})
    reply = reply_to(stopping, "c")
    assert stopping.site.stops == []
    assert [(one["taskId"], one["sharedWith"]) for one in reply["tasksRunning"]] == [(task, ["b"])]
