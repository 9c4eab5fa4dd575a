"""What once went wrong with executions and those who wait for their end, in the smallest way."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Execution, Task
from butler_mqtt.resolving import resolver
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting import execution_tracker
from tests.pipeline.fixtures import MakeHouse
from tests.pipeline.harness import House, Site


def events(house: House, kind: str = "") -> list[dict[str, Any]]:
    told = [json.loads(one.payload) for one in house.broker.events]
    return [one for one in told if kind in {"", one["event"]}]


def answers(house: House, correlation: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.payload) for one in house.broker.published if one.correlation == correlation]


def steps(house: House, number: int = 30) -> None:
    for _ in range(number):
        house.step()


def pass_seconds(house: House, seconds: float) -> None:
    """Step on for so long: what must not happen has no event to wait for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        house.step()


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_repetition_that_waits_for_the_end_gets_the_reply_its_request_got(house: House) -> None:
    task = house.site.add("Sales")
    house.ask({"requestId": "a", "taskId": task})
    house.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"again")
    house.until(lambda: answers(house, b"again"))
    assert answers(house, b"again") == [house.replies()[0]]


def test_a_repetition_in_the_turn_of_the_end_gets_the_reply_at_the_end(house: House) -> None:
    task = house.site.add("Sales")
    house.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"end")
    house.until(lambda: house.site.posts)
    steps(house, 3)
    house.site.end(task)
    # The end and the repetition are taken in together.
    while not house.pipeline.starter.follower._busy:
        house.turn()
    house.follow()
    house.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"again")
    house.until(lambda: answers(house, b"again"))
    assert answers(house, b"again") == answers(house, b"end")
    assert answers(house, b"end")[0]["tasksStarted"][0]["result"] == "succeeded"


def test_a_repetition_while_another_waits_for_the_end_is_answered_once(house: House) -> None:
    task = house.site.add("Sales")
    house.send({"requestId": "a", "taskId": task, "wait": "finished"}, correlation=b"end")
    house.until(lambda: house.site.posts)
    steps(house, 3)
    house.send({"requestId": "a", "taskId": task}, correlation=b"again")
    house.until(lambda: answers(house, b"again"))
    house.site.end(task)
    house.until(lambda: answers(house, b"end"))
    steps(house, 5)
    assert [len(answers(house, one)) for one in (b"end", b"again")] == [1, 1]


def test_an_execution_whose_result_is_gone_is_told_with_code_and_details(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_tracker, "RESULT_LAG_SECONDS", 0.1)
    task = house.site.add("Sales")
    house.send({"taskId": task, "wait": "finished"}, correlation=b"end")
    house.until(lambda: house.site.posts)
    steps(house, 3)
    house.site.history[task].clear()
    house.until(lambda: answers(house, b"end"))
    [entry] = answers(house, b"end")[0]["tasksFailed"]
    assert entry["status"] == "unknown"
    assert entry["code"] == "outcome_unknown"
    assert entry["details"]


def test_a_status_that_says_never_started_is_told_with_code_and_details(house: House) -> None:
    task = house.site.add("Sales")
    house.send({"taskId": task, "wait": "finished"}, correlation=b"end")
    house.until(lambda: house.site.posts)
    house.site.end(task, 0)
    house.until(lambda: answers(house, b"end"))
    [entry] = answers(house, b"end")[0]["tasksFailed"]
    assert (entry["status"], entry["code"]) == ("unknown", "outcome_unknown")
    assert entry["details"]


def test_an_execution_waited_for_and_then_adopted_tells_that_it_runs(house: House) -> None:
    """While nothing of ours was served by it, nothing was told and nothing may count as told."""
    task = house.site.add("Sales")
    first = house.site.begin(task)
    house.ask({"requestId": "a", "taskId": task})
    house.site.pass_time(5)
    house.site.end(task)

    def somebody_else_is_faster(site: Site, asked: Task) -> str:
        site.begin(asked.id)
        return EMPTY_GUID

    house.site.script.append(somebody_else_is_faster)
    house.until(lambda: events(house, "started"))
    [started] = events(house, "started")
    assert started["executionId"] != first
    house.until(lambda: events(house, "running"))


def test_a_start_that_expires_while_it_waits_is_not_answered_as_queued(house: House) -> None:
    task = house.site.add("Sales")
    house.site.begin(task)
    house.send({"taskId": task, "wait": "finished", "expiresAt": soon(0.3)}, correlation=b"end")
    house.until(lambda: answers(house, b"end"))
    [answer] = answers(house, b"end")
    assert "tasksQueued" not in answer
    assert answer["status"] == "failed"


def test_requests_behind_full_lanes_are_not_refused_for_a_server_that_answers(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_PLANNED", 2)
    house = make_house(Settings(start_task=StartTask(max_concurrent_reloads=1, request_deadline_seconds=0.5)))
    for number in range(3):
        house.ask({"taskId": house.site.add(f"Task {number}")})
    for number in range(3, 6):
        house.send({"taskId": house.site.add(f"Task {number}")})
    house.turn()
    # Two starts wait for a slot, which is as many as are decided; the server answers what is asked meanwhile.
    pass_seconds(house, 0.8)
    assert [one.get("code") for one in house.replies()] == [None] * len(house.replies())


def test_a_task_kept_busy_by_short_foreign_runs_is_not_told_as_not_started(house: House) -> None:
    """An execution that began after the request and is over by the look has loaded what was asked for."""
    task = house.site.add("Sales")

    def short_foreign_run(site: Site, asked: Task) -> str:
        site.pass_time(3)
        site.begin(asked.id)
        site.pass_time(1)
        site.end(asked.id)
        return EMPTY_GUID

    house.site.script.extend([short_foreign_run] * 5)
    reply = house.ask({"taskId": task})
    assert reply["status"] == "ok", reply


def test_an_id_of_a_foreign_execution_that_began_before_a_late_start_does_not_serve_it(house: House) -> None:
    """Where a start of a running task answers with the running execution's id."""
    task = house.site.add("Sales")
    house.site.begin(task)
    house.ask({"requestId": "a", "taskId": task})
    house.site.pass_time(5)
    house.site.end(task)
    began: list[str] = []

    def same(site: Site, asked: Task) -> str:
        running: Execution | None = site.running(asked.id)
        if running is None:
            return str(site.start_now(asked))
        return str(running.id)

    # Another foreign execution begins before the end of the first is seen; then a second request comes.
    house.turn()
    began.append(house.site.begin(task))
    house.site.pass_time(20)
    house.site.script.extend([same] * 20)
    house.send({"requestId": "b", "taskId": task}, correlation=b"b")
    house.turn()
    steps(house, 60)
    served = [one for one in events(house, "started") if "b" in one["requestIds"]]
    assert not served, served
    house.site.end(task)
    house.until(lambda: [one for one in events(house, "started") if "b" in one["requestIds"]])


def test_starts_due_together_are_not_refused_for_a_silence_nobody_asked_in(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(request_deadline_seconds=1.0, max_concurrent_reloads=2)))
    due = soon(1.5)
    tasks = [house.site.add(f"Task {number}") for number in range(8)]
    house.send({"taskId": tasks, "notBefore": due, "wait": "finished"}, correlation=b"end")
    pass_seconds(house, 1.6)

    def over() -> bool:
        for task in tasks:
            if house.site.running(task):
                house.site.end(task)
        return bool(answers(house, b"end"))

    house.until(over)
    assert answers(house, b"end")[0]["totalTasksStarted"] == 8


def test_a_running_executions_id_given_for_a_start_is_not_taken_for_a_new_one(house: House) -> None:
    """The task was found idle a moment ago, for another request; since then somebody else has started it."""
    task = house.site.add("Sales")
    house.ask({"requestId": "a", "taskId": task})
    house.site.end(task)
    foreign = house.site.begin(task)
    house.site.pass_time(4)
    house.site.script.append(lambda _site, _task: foreign)
    reply = house.ask({"requestId": "b", "taskId": task})
    assert "tasksQueued" in reply, reply


def test_an_id_that_is_looked_at_is_not_exchanged_for_an_older_execution(house: House) -> None:
    """Somebody else's execution has just ended when ours begins; both are new to the journal."""
    task = house.site.add("Sales")
    house.ask({"requestId": "a", "taskId": task, "dryRun": True})
    house.site.begin(task)
    house.site.end(task)
    [entry] = house.ask({"requestId": "b", "taskId": task})["tasksStarted"]
    assert "adopted" not in entry
    assert entry["executionId"] == house.site.history[task][0].id


def test_an_id_the_server_does_not_show_yet_is_believed(house: House) -> None:
    task = house.site.add("Sales")
    house.ask({"requestId": "a", "taskId": task, "dryRun": True})
    house.site.script.append(lambda _site, _task: "0000000a-eeee-4000-8000-00000000000a")
    [entry] = house.ask({"requestId": "b", "taskId": task})["tasksStarted"]
    assert entry["executionId"] == "0000000a-eeee-4000-8000-00000000000a"
    assert "adopted" not in entry
