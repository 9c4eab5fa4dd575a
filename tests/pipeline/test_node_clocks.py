"""The clocks of nodes, which stamp executions, differ from that of the `Date` header."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.journal import tables
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import OUR_USER, Site, cut_after_effect, cut_before_effect

CLOCKS = [(-60,), (-10,), (-3,), (0,), (5,), (60,), (-60, 60), (60, -60)]
every_clock = pytest.mark.parametrize("clocks", CLOCKS, ids=str)


def entry(reply: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = reply[name][0]
    return found


def ours(site: Site, task_id: str) -> list[str | None]:
    return [one.id for one in site.history[task_id] if one.user == OUR_USER]


@every_clock
def test_a_request_for_a_running_task_leads_to_one_execution(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    """A node 3, 10, 60 s behind once led to 3, 9, 25."""
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    running = harness.site.begin(task_id)
    harness.site.pass_time(20)
    assert entry(harness.ask({"taskId": task_id}), "tasksQueued")["behind"] == running
    harness.site.end(task_id)
    for _ in range(6):
        harness.until(lambda: not harness.site.running(task_id) or ours(harness.site, task_id))
        for _ in range(5):
            harness.step()
        if harness.site.running(task_id):
            harness.site.pass_time(1)
            harness.site.end(task_id)
    harness.until(lambda: {row["state"] for row in harness.rows(tables.starts)} == {"succeeded"})
    assert len(ours(harness.site, task_id)) == 1


@every_clock
@pytest.mark.parametrize("read_before", [False, True])
def test_what_began_before_the_request_is_never_adopted(
    harness: Harness, clocks: tuple[int, ...], *, read_before: bool
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    if read_before:
        harness.ask({"taskId": task_id, "dryRun": True})
    running = harness.site.begin(task_id)
    harness.site.pass_time(3)
    reply = harness.ask({"taskId": task_id})
    assert entry(reply, "tasksQueued")["behind"] == running


@every_clock
def test_what_another_began_after_the_request_is_adopted(harness: Harness, clocks: tuple[int, ...]) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")

    def somebody_is_faster(site: Site, task: Task) -> str:
        site.begin(task.id)
        return EMPTY_GUID

    harness.site.script.append(somebody_is_faster)
    assert entry(harness.ask({"taskId": task_id}), "tasksStarted")["adopted"] is True
    assert harness.site.posts == []


@every_clock
def test_what_another_began_after_the_one_waited_for_is_adopted(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.ask({"taskId": task_id})
    harness.site.end(task_id)
    harness.site.begin(task_id)
    harness.until(lambda: harness.rows(tables.starts)[0]["state"] == "running")
    assert harness.rows(tables.starts)[0]["adopted"]
    assert harness.site.posts == []


@every_clock
def test_one_who_comes_to_wait_after_another_began_is_not_served_by_it(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    """The first waits behind what has just ended unseen; who joins it came after the next one began."""
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.ask({"taskId": task_id})
    harness.site.end(task_id)
    harness.site.begin(task_id)
    harness.site.pass_time(3)
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.until(lambda: [row["state"] for row in harness.rows(tables.starts)] == ["running", "waiting"])
    harness.site.end(task_id)
    harness.until(lambda: harness.site.posts == [task_id])


@every_clock
def test_after_a_restart_one_who_came_to_wait_too_late_is_not_served_either(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.ask({"taskId": task_id})
    harness.site.end(task_id)
    harness.site.begin(task_id)
    harness.site.pass_time(3)
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.turn()
    assert [row["state"] for row in harness.rows(tables.starts)] == ["waiting", "waiting"]
    harness.restart()
    harness.until(lambda: harness.rows(tables.starts)[1]["behind"] == harness.site.history[task_id][0].id)
    harness.site.end(task_id)
    harness.until(lambda: harness.site.posts == [task_id])


@every_clock
@pytest.mark.parametrize("history", ["never ran", "ran before", "ends at once"])
def test_a_start_whose_answer_was_lost_is_not_repeated(
    harness: Harness, clocks: tuple[int, ...], history: str
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    if history == "ran before":
        harness.site.begin(task_id)
        harness.site.end(task_id)
        harness.site.pass_time(5)
    harness.site.lasting = history != "ends at once"
    harness.site.script.append(cut_after_effect)
    assert entry(harness.ask({"taskId": task_id}), "tasksStarted")["adopted"] is True
    assert harness.site.posts == [task_id]


@every_clock
def test_an_execution_from_before_is_not_taken_for_one_whose_answer_was_lost(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    for _ in range(3):
        harness.site.begin(task_id)
        harness.site.pass_time(1)
        harness.site.end(task_id)
    before = set(harness.site.began_at)
    harness.site.script.append(cut_before_effect)
    assert entry(harness.ask({"taskId": task_id}), "tasksStarted")["executionId"] not in before
    assert harness.site.posts == [task_id]


@every_clock
def test_what_was_taken_in_by_another_life_is_started_once(harness: Harness, clocks: tuple[int, ...]) -> None:
    """After a restart the task is read again before the POST, so that ids decide about it too."""
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.site.end(task_id)
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.site.down = True
    harness.turn()
    harness.restart()
    harness.site.down = False
    harness.site.script.append(cut_after_effect)
    harness.replied(1)
    assert harness.site.posts == [task_id]


@every_clock
def test_a_start_kept_from_running_by_what_has_just_ended_is_posted_again(
    harness: Harness, clocks: tuple[int, ...]
) -> None:
    harness.site.node_clocks = clocks
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)

    def ends_right_after(site: Site, task: Task) -> str:
        site.end(task.id)
        return EMPTY_GUID

    harness.site.pass_time(100)
    harness.site.script.append(ends_right_after)
    assert harness.ask({"taskId": task_id})["totalTasksStarted"] == 1


def test_where_the_newest_execution_is_not_shown_what_stamps_leave_open_is_unknown(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.shows_last = False
    harness.site.begin(task_id)
    harness.site.end(task_id)
    harness.site.pass_time(60)
    harness.site.script.append(cut_before_effect)
    assert entry(harness.ask({"taskId": task_id}), "tasksFailed")["code"] == "outcome_unknown"
    assert harness.site.posts == []
