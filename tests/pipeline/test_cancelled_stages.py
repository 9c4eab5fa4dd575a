"""Requests with stages that are taken back: what runs runs on, and no further stage begins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from butler_mqtt.journal import tables
from tests.pipeline.harness import Harness
from tests.pipeline.test_cancel import ids, reply_to
from tests.pipeline.test_stages import CHAIN, NAMES, TO_THE_END, chain, ends, posted, stages, starts, summary

LATER = "2099-01-01T00:00:00Z"


def cancel(harness: Harness) -> dict[str, Any]:
    harness.send({"requestId": "c", "cancel": "night"})
    return reply_to(harness, "c")


def test_what_waits_for_its_stage_is_cancelled_and_what_runs_runs_on(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    posted(harness, tasks[0])
    reply = cancel(harness)
    assert (ids(reply, "tasksCancelled"), ids(reply, "tasksRunning")) == (tasks[1:], tasks[:1])
    ends(harness, tasks[0])
    answer = reply_to(harness, "night")
    assert summary(answer) == [(1, "succeeded", 1), (2, "notStarted", 1), (3, "notStarted", 1)]
    assert [entry["status"] for entry in answer["tasksFailed"]] == ["cancelled", "cancelled"]
    assert answer["outcome"] == "partial"
    posted(harness, tasks[0])


def test_a_stage_without_tasks_does_not_begin_when_it_would_find_some(harness: Harness) -> None:
    first = harness.site.add("extract 1", tags=("extract",))
    harness.send(CHAIN | {"stages": CHAIN["stages"][:2]})
    posted(harness, first)
    reply = cancel(harness)
    assert (reply["tasksCancelled"], ids(reply, "tasksRunning")) == ([], [first])
    harness.site.add("late", tags=("transform",))
    ends(harness, first)
    posted(harness, first)
    assert stages(harness) == ["succeeded", "notStarted"]


def test_a_chain_that_waits_for_its_time_is_cancelled_whole(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END | {"notBefore": LATER})
    harness.until(lambda: len(harness.rows(tables.starts)) == len(tasks))
    assert ids(cancel(harness), "tasksCancelled") == tasks
    assert reply_to(harness, "night")["code"] == "cancelled"
    assert stages(harness) == ["notStarted"] * len(NAMES)
    posted(harness)


def test_a_chain_that_is_over_has_nothing_to_cancel(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    for task in tasks:
        ends(harness, task)
    assert reply_to(harness, "night")["outcome"] == "succeeded"
    assert cancel(harness)["tasksCancelled"] == []


@pytest.mark.parametrize("step", range(12))
def test_a_kill_at_any_step_leaves_each_task_begun_once_or_cancelled(harness: Harness, step: int) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    posted(harness, tasks[0])
    harness.send({"requestId": "c", "cancel": "night"})
    actions = [harness.turn, harness.find, harness.post, harness.snapshot, harness.follow] * 3
    for number, act in enumerate(actions):
        if number == step:
            harness.restart()
            harness.connect(present=True)
        act()
    # What was not acknowledged comes again, as the broker sends it.
    harness.send({"requestId": "c", "cancel": "night"})
    reply_to(harness, "c")
    ends(harness, tasks[0])
    answer = reply_to(harness, "night")
    assert starts(harness) == {"extract 1": "succeeded", "transform 1": "cancelled", "publish 1": "cancelled"}
    assert summary(answer) == [(1, "succeeded", 1), (2, "notStarted", 1), (3, "notStarted", 1)]
    posted(harness, tasks[0])
    events = [json.loads(one.payload) for one in harness.broker.events]
    assert {one["taskId"] for one in events if one["event"] == "cancelled"} == set(tasks[1:])
