"""The clocks of nodes, which stamp executions, differ from that of the `Date` header."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.journal import tables
from tests.pipeline.harness import OUR_USER, House, Site, cut_after_effect, cut_before_effect

CLOCKS = [(-60,), (-10,), (-3,), (0,), (5,), (60,), (-60, 60), (60, -60)]
every_clock = pytest.mark.parametrize("clocks", CLOCKS, ids=str)


def entry(reply: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = reply[name][0]
    return found


def ours(site: Site, task_id: str) -> list[str | None]:
    return [one.id for one in site.history[task_id] if one.user == OUR_USER]


@every_clock
def test_a_request_for_a_running_task_leads_to_one_execution(house: House, clocks: tuple[int, ...]) -> None:
    """A node 3, 10, 60 s behind once led to 3, 9, 25."""
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    running = house.site.begin(task_id)
    house.site.pass_time(20)
    assert entry(house.ask({"taskId": task_id}), "tasksQueued")["behind"] == running
    house.site.end(task_id)
    for _ in range(6):
        house.until(lambda: not house.site.running(task_id) or ours(house.site, task_id))
        for _ in range(5):
            house.step()
        if house.site.running(task_id):
            house.site.pass_time(1)
            house.site.end(task_id)
    house.until(lambda: {row["state"] for row in house.rows(tables.starts)} == {"succeeded"})
    assert len(ours(house.site, task_id)) == 1


@every_clock
@pytest.mark.parametrize("read_before", [False, True])
def test_what_began_before_the_request_is_never_adopted(
    house: House, clocks: tuple[int, ...], *, read_before: bool
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    if read_before:
        house.ask({"taskId": task_id, "dryRun": True})
    running = house.site.begin(task_id)
    house.site.pass_time(3)
    reply = house.ask({"taskId": task_id})
    assert entry(reply, "tasksQueued")["behind"] == running


@every_clock
def test_what_another_began_after_the_request_is_adopted(house: House, clocks: tuple[int, ...]) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")

    def somebody_is_faster(site: Site, task: Task) -> str:
        site.begin(task.id)
        return EMPTY_GUID

    house.site.script.append(somebody_is_faster)
    assert entry(house.ask({"taskId": task_id}), "tasksStarted")["adopted"] is True
    assert house.site.posts == []


@every_clock
def test_what_another_began_after_the_one_waited_for_is_adopted(
    house: House, clocks: tuple[int, ...]
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.ask({"taskId": task_id})
    house.site.end(task_id)
    house.site.begin(task_id)
    house.until(lambda: house.rows(tables.starts)[0]["state"] == "running")
    assert house.rows(tables.starts)[0]["adopted"]
    assert house.site.posts == []


@every_clock
def test_one_who_comes_to_wait_after_another_began_is_not_served_by_it(
    house: House, clocks: tuple[int, ...]
) -> None:
    """The first waits behind what has just ended unseen; who joins it came after the next one began."""
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.ask({"taskId": task_id})
    house.site.end(task_id)
    house.site.begin(task_id)
    house.site.pass_time(3)
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.until(lambda: [row["state"] for row in house.rows(tables.starts)] == ["running", "waiting"])
    house.site.end(task_id)
    house.until(lambda: house.site.posts == [task_id])


@every_clock
def test_after_a_restart_one_who_came_to_wait_too_late_is_not_served_either(
    house: House, clocks: tuple[int, ...]
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.ask({"taskId": task_id})
    house.site.end(task_id)
    house.site.begin(task_id)
    house.site.pass_time(3)
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.turn()
    assert [row["state"] for row in house.rows(tables.starts)] == ["waiting", "waiting"]
    house.restart()
    house.until(lambda: house.rows(tables.starts)[1]["behind"] == house.site.history[task_id][0].id)
    house.site.end(task_id)
    house.until(lambda: house.site.posts == [task_id])


@every_clock
@pytest.mark.parametrize("history", ["never ran", "ran before", "ends at once"])
def test_a_start_whose_answer_was_lost_is_not_repeated(
    house: House, clocks: tuple[int, ...], history: str
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    if history == "ran before":
        house.site.begin(task_id)
        house.site.end(task_id)
        house.site.pass_time(5)
    house.site.lasting = history != "ends at once"
    house.site.script.append(cut_after_effect)
    assert entry(house.ask({"taskId": task_id}), "tasksStarted")["adopted"] is True
    assert house.site.posts == [task_id]


@every_clock
def test_an_execution_from_before_is_not_taken_for_one_whose_answer_was_lost(
    house: House, clocks: tuple[int, ...]
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    for _ in range(3):
        house.site.begin(task_id)
        house.site.pass_time(1)
        house.site.end(task_id)
    before = set(house.site.began_at)
    house.site.script.append(cut_before_effect)
    assert entry(house.ask({"taskId": task_id}), "tasksStarted")["executionId"] not in before
    assert house.site.posts == [task_id]


@every_clock
def test_what_was_taken_in_by_another_life_is_started_once(house: House, clocks: tuple[int, ...]) -> None:
    """After a restart the task is read again before the POST, so that ids decide about it too."""
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.site.end(task_id)
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.site.down = True
    house.turn()
    house.restart()
    house.site.down = False
    house.site.script.append(cut_after_effect)
    house.replied(1)
    assert house.site.posts == [task_id]


@every_clock
def test_a_start_kept_from_running_by_what_has_just_ended_is_posted_again(
    house: House, clocks: tuple[int, ...]
) -> None:
    house.site.node_clocks = clocks
    task_id = house.site.add("Sales")
    house.site.begin(task_id)

    def ends_right_after(site: Site, task: Task) -> str:
        site.end(task.id)
        return EMPTY_GUID

    house.site.pass_time(100)
    house.site.script.append(ends_right_after)
    assert house.ask({"taskId": task_id})["totalTasksStarted"] == 1


def test_where_the_newest_execution_is_not_shown_what_stamps_leave_open_is_unknown(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.shows_last = False
    house.site.begin(task_id)
    house.site.end(task_id)
    house.site.pass_time(60)
    house.site.script.append(cut_before_effect)
    assert entry(house.ask({"taskId": task_id}), "tasksFailed")["code"] == "outcome_unknown"
    assert house.site.posts == []
