"""What happens where stages, cancels, parameters, shared executions and faults meet."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from butler_mqtt.domain import decisions
from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import parameter_rows, tables
from butler_mqtt.settings import KeyValueStoreSettings, Settings, StartTask
from butler_mqtt.starting.cancellation import Cancellation
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Site, cut_before_effect
from tests.pipeline.test_stages import CHAIN, chain, ends, posted, soon, stages, starts

STOPPING = StartTask(allow_stop=True)


def replies_to(harness: Harness, request_id: str) -> list[dict[str, Any]]:
    return [one for one in harness.replies() if one["requestId"] == request_id]


def stepped(harness: Harness, times: int = 60) -> None:
    for _ in range(times):
        harness.step()


# ---- stages


def test_a_stage_waits_for_what_another_task_of_the_app_runs_and_then_the_next_begins(
    harness: Harness,
) -> None:
    site = harness.site
    site.app_once = True
    other = site.add("other", app_id="app")
    site.add("e", tags=("extract",), app_id="app")
    second = site.add("t", tags=("transform",))
    site.begin(other)
    harness.send(CHAIN | {"ifRunning": "skip", "stages": CHAIN["stages"][:2]})
    harness.until(lambda: starts(harness).get("e") == "skipped")
    site.end(other)
    posted(harness, second)


def test_a_request_whose_later_stage_may_still_start_something_is_not_refused_as_unreachable(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.3)))
    harness.site.add("both", tags=("extract", "transform"))

    def gone(site: Site, _task: Task) -> None:
        site.down = True
        raise QlikUnavailable("refused")

    harness.site.script.append(gone)
    reply = harness.ask(
        {"requestId": "night", "stages": [{"tag": "extract", "onFailure": "continue"}, {"tag": "transform"}]}
    )
    late = harness.site.add("late", tags=("transform",))
    harness.site.down = False
    harness.until(lambda: harness.site.posts)
    assert ("code" in reply, harness.site.posts) == (False, [late])


def test_each_task_that_a_failed_stage_keeps_from_starting_has_its_event(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(CHAIN)
    posted(harness, tasks[0])
    ends(harness, tasks[0], 8)
    stepped(harness, 10)
    events = [json.loads(one.payload) for one in harness.broker.events]
    assert [one["taskId"] for one in events if one.get("code") == "previous_stage_failed"] == tasks[1:]


def test_a_fault_of_ours_as_a_stage_begins_refuses_that_stage_and_goes_on(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = chain(harness)
    harness.send(CHAIN)
    posted(harness, tasks[0])
    decided: list[object] = []

    def bad(*arguments: Any, **_named: Any) -> None:
        decided.append(arguments)
        raise RuntimeError("ours")

    monkeypatch.setattr(decisions, "decide_stage", bad)
    ends(harness, tasks[0])
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    assert (len(decided), harness.site.posts) == (1, tasks[:1])
    monkeypatch.undo()
    assert harness.ask({"taskId": tasks[0]})["status"] == "ok"


# ---- cancels


def test_a_cancel_and_a_deadline_in_one_turn_make_one_reply(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=1)
    harness.site.down = True
    task = harness.site.add("a")
    for number in (1, 2):
        harness.send({"requestId": f"r{number}", "taskId": task})
    harness.send({"requestId": "r3", "taskId": task, "expiresAt": soon(0.6)})
    for _ in range(3):
        harness.turn()
    harness.send({"requestId": "c", "cancel": "r3"})
    harness.turn()
    harness.until(lambda: replies_to(harness, "r3"))
    stepped(harness, 10)
    assert len(replies_to(harness, "r3")) == 1
    assert harness.pipeline.open_requests == 2


def test_a_start_that_will_share_the_execution_keeps_it_from_being_stopped(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=STOPPING))
    shared_by_two(harness)
    stepped(harness, 80)
    assert [row["state"] for row in harness.rows(tables.starts)] == ["running", "running"]
    [reply] = replies_to(harness, "c")
    assert [entry["sharedWith"] for entry in reply["tasksRunning"]] == [["B"]]


def test_a_cancel_whose_stop_failed_is_answered_when_the_execution_is_shared(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=STOPPING))
    harness.site.stop_script.append(QlikUnavailable("blip"))
    shared_by_two(harness)
    harness.until(lambda: replies_to(harness, "c"))


def shared_by_two(harness: Harness) -> None:
    """Let A and B ask for a task that A's POST starts, and cancel A while B's is to come."""
    task = harness.site.add("a")
    harness.send({"requestId": "A", "taskId": task})
    harness.send({"requestId": "B", "taskId": task})
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()
    harness.send({"requestId": "c", "cancel": "A", "stopRunning": True})


def test_a_fault_of_ours_in_a_cancel_refuses_it_and_nothing_else(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = harness.site.add("a")
    harness.send({"requestId": "r", "taskId": task, "notBefore": "2099-01-01T00:00:00Z"})
    harness.replied()

    def bad(*_arguments: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(Cancellation, "begin", bad)
    harness.send({"requestId": "c", "cancel": "r"})
    assert harness.replied(2)[-1]["code"] == "internal_error"
    assert harness.ask({"taskId": task})["status"] == "ok"


def test_a_fault_of_ours_in_a_cancel_read_from_the_journal_refuses_it_and_nothing_else(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = harness.site.add("a")
    harness.site.script.append(cut_before_effect)
    harness.send({"requestId": "r", "taskId": task})
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    harness.send({"requestId": "c", "cancel": "r"})
    harness.turn()
    harness.restart()

    def bad(*_arguments: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(Cancellation, "begin", bad)
    harness.until(lambda: replies_to(harness, "c"))
    assert replies_to(harness, "c")[0]["code"] == "internal_error"
    assert harness.ask({"taskId": harness.site.add("b")})["status"] == "ok"


# ---- what is kept


def test_starts_that_waited_are_not_kept_once_they_have_begun(harness: Harness) -> None:
    task = harness.site.add("a")
    harness.site.begin(task)
    for number in range(5):
        harness.send({"requestId": f"r{number}", "taskId": task, "notBefore": soon(0.3)})
    harness.until(lambda: {row["reason"] for row in harness.rows(tables.starts)} == {"running"})
    harness.site.end(task)
    harness.until(lambda: harness.site.posts)
    assert len(harness.pipeline.dispatcher.pending.capacity_waits) == 0


def test_a_fault_of_the_journal_as_parameters_are_stored_repeats_the_turn(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = make_harness(Settings(key_value_store=KeyValueStoreSettings(enable=True)))
    task = harness.site.add("a")
    store, calls = parameter_rows.store, []

    def failing(*arguments: Any, **named: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        store(*arguments, **named)

    monkeypatch.setattr(parameter_rows, "store", failing)
    reply = harness.ask({"taskId": task, "parameters": {"n": {"k": 1, "l": 2}}})
    assert (reply["status"], len(harness.rows(tables.parameters))) == ("ok", 2)


def test_expired_keys_make_room_whatever_else_has_expired(make_harness: MakeHarness) -> None:
    harness = make_harness(
        Settings(key_value_store=KeyValueStoreSettings(enable=True, max_keys_per_namespace=2))
    )
    task = harness.site.add("a")
    for namespace, seconds in (("A1", 0.1), ("A2", 0.1), ("A3", 0.1), ("B", 0.2)):
        harness.ask(
            {
                "taskId": task,
                "parameters": {namespace: {"x": 1, "y": 1}},
                "parametersTtlSeconds": seconds,
            }
        )
    harness.until(lambda: "code" not in harness.ask({"taskId": task, "parameters": {"B": {"z": 1}}}))
