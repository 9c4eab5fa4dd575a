"""Who waits at the REST door gets the reply, whatever becomes of the commit that answers."""

from __future__ import annotations

import json

import pytest

from butler_mqtt.journal import tables
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness


@pytest.mark.parametrize("where", ["start", "reading", "before", "after"])
@pytest.mark.parametrize("turns", range(5))
def test_a_caller_is_answered_although_a_commit_fails(harness: Harness, where: str, turns: int) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.turn()
    answers = harness.call({"taskId": task})
    for _ in range(turns):
        harness.step()
    harness.journal.fail(where)
    harness.until(lambda: answers)
    assert [json.loads(answer)["totalTasksStarted"] for answer in answers] == [1]
    assert harness.site.posts == [task]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_caller_that_waits_for_the_end_is_answered_although_that_commit_fails(
    harness: Harness, where: str
) -> None:
    task = harness.site.add("Sales")
    answers = harness.call({"taskId": task, "wait": "finished"})
    harness.until(lambda: harness.site.posts)
    for _ in range(5):
        harness.step()
    harness.site.end(task)
    harness.pipeline.turns.dispatcher.tracker.polling = False
    while not harness.pipeline.turns.dispatcher.tracker.polling:
        harness.turn()
    harness.follow()
    harness.journal.fail(where)
    harness.until(lambda: answers)
    assert [json.loads(answer)["outcome"] for answer in answers] == ["succeeded"]


def test_a_caller_whose_request_is_left_on_disk_is_answered(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=4)
    harness.site.down = True
    waiting = [harness.call({"tag": "none"}) for _ in range(10)]
    harness.turn()
    assert len(harness.pipeline.resolver) == 4
    harness.site.down = False
    harness.until(lambda: all(waiting))
    assert {len(answers) for answers in waiting} == {1}


def test_a_caller_whose_request_is_left_on_disk_is_answered_after_a_fault(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=4)
    harness.site.down = True
    waiting = [harness.call({"tag": "none"}) for _ in range(10)]
    harness.turn()
    harness.journal.fail("before")
    harness.turn()
    harness.site.down = False
    harness.until(lambda: all(waiting))
    assert {len(answers) for answers in waiting} == {1}


def test_of_a_call_that_was_given_up_nothing_is_recorded(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.call({"taskId": task}, given_up=lambda: True)
    harness.ask({"tag": "none"})
    assert [row["door"] for row in harness.rows(tables.deliveries)] == ["mqtt"]
    assert harness.site.posts == []
