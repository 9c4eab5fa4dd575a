"""A site that reloads an app once at a time: what a start meets while another task of the app runs."""

from __future__ import annotations

from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID
from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from tests.pipeline.harness import Harness

APP = "c9f2a1c4-5c1e-4a0e-9d3b-6a1d1c2b3e4f"


@pytest.fixture
def harness(harness: Harness) -> Harness:
    harness.site.app_once = True
    return harness


def two_tasks(harness: Harness) -> tuple[str, str]:
    """Make two tasks that reload one app."""
    return harness.site.add("Sales", app_id=APP), harness.site.add("Sales, all years", app_id=APP)


def ask(harness: Harness, task_id: str, **fields: Any) -> dict[str, Any]:
    return harness.ask({"taskId": task_id, **fields})


def test_a_start_waits_behind_another_task_of_its_app(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    running = harness.site.begin(other)
    [queued] = ask(harness, sales)["tasksQueued"]
    assert (queued["reason"], queued["behind"]) == ("running", running)
    harness.site.end(other)
    harness.until(lambda: harness.site.posts == [sales])


def test_a_start_that_skips_names_the_execution_and_the_other_task(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    running = harness.site.begin(other)
    reply = ask(harness, sales, ifRunning="skip")
    [skipped] = reply["tasksSkipped"]
    assert (reply["status"], skipped["status"]) == ("ok", "alreadyRunning")
    assert (skipped["executionId"], skipped["runningTaskId"]) == (running, other)
    assert harness.site.posts == []


def test_the_other_task_is_named_after_a_restart_too(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    third = harness.site.add("Stock")
    harness.site.begin(other)
    harness.site.script.append(QlikUnavailable("connection refused"))
    harness.send({"requestId": "r", "taskId": [third, sales], "ifRunning": "skip"})
    harness.until(lambda: {row["state"] for row in harness.rows(tables.starts)} == {"planned", "skipped"})
    harness.restart()
    [reply] = harness.replied()
    assert reply["tasksSkipped"][0]["runningTaskId"] == other


def test_tasks_of_one_app_that_one_request_asks_for_run_one_after_the_other(harness: Harness) -> None:
    tasks = two_tasks(harness)
    harness.send({"taskId": list(tasks), "wait": "finished"})
    harness.until(lambda: len(harness.site.posts) == 1)
    harness.site.end(harness.site.posts[0])
    harness.until(lambda: len(harness.site.posts) == 2)
    harness.site.end(harness.site.posts[1])
    assert harness.replied()[0]["outcome"] == "succeeded"
    assert sorted(harness.site.posts) == sorted(tasks)


def test_starts_of_several_tasks_wait_behind_one_execution_of_ours(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    third = harness.site.add("Sales, by hand", app_id=APP)
    ask(harness, other)
    for one in (sales, third, other):
        assert ask(harness, one)["tasksQueued"][0]["reason"] == "running"
    while len(harness.site.posts) < 4:
        harness.site.end(harness.site.posts[-1])
        harness.until(lambda: harness.site.running_of_app(APP))
    assert sorted(harness.site.posts[1:]) == sorted([sales, third, other])


def test_what_waits_behind_another_task_is_there_after_a_restart(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    ask(harness, other)
    ask(harness, sales)
    harness.restart()
    harness.step()
    harness.site.end(other)
    harness.until(lambda: harness.site.posts == [other, sales])
    harness.until(lambda: [row["state"] for row in harness.rows(tables.starts)] == ["succeeded", "running"])


def test_an_execution_of_the_app_that_ended_before_it_was_seen_is_no_reason_to_give_up(
    harness: Harness,
) -> None:
    sales, other = two_tasks(harness)

    def busy(site: Any, _task: Any) -> str:
        site.begin(other)
        site.end(other)
        return EMPTY_GUID

    harness.site.script.append(busy)
    assert ask(harness, sales)["tasksStarted"]
    assert harness.site.posts == [sales]


def test_without_anything_of_its_app_running_no_reason_is_guessed(harness: Harness) -> None:
    sales, _ = two_tasks(harness)
    harness.site.script.extend([lambda _site, _task: EMPTY_GUID] * 5)
    assert ask(harness, sales)["tasksFailed"][0]["code"] == "not_started"


def test_a_disabled_task_is_named_so_whatever_runs_of_its_app(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    harness.site.change(sales, enabled=False)
    harness.site.begin(other)
    assert ask(harness, sales)["tasksFailed"][0]["code"] == "task_disabled"


def test_an_app_that_may_not_be_looked_at_leaves_no_reason(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    harness.site.begin(other)
    harness.site.app_errors.extend([QlikRefused("403 with Forbidden", 403)] * 5)
    assert ask(harness, sales)["tasksFailed"][0]["code"] == "not_started"


def test_an_outage_while_the_app_is_looked_at_decides_nothing(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    running = harness.site.begin(other)
    harness.site.app_errors.extend([QlikUnavailable("connection refused")] * 3)
    assert ask(harness, sales)["tasksQueued"][0]["behind"] == running


def test_a_site_that_reloads_an_app_twice_at_a_time_starts_both(harness: Harness) -> None:
    harness.site.app_once = False
    sales, other = two_tasks(harness)
    harness.site.begin(other)
    assert ask(harness, sales)["tasksStarted"]


def test_an_execution_of_its_own_task_is_waited_for_first(harness: Harness) -> None:
    sales, other = two_tasks(harness)
    harness.site.begin(other)
    own = harness.site.begin(sales)
    assert ask(harness, sales)["tasksQueued"][0]["behind"] == own


def test_an_execution_that_began_meanwhile_beside_the_apps_does_not_serve_a_later_request(
    harness: Harness,
) -> None:
    """A server may answer with the empty id and let two tasks of an app run all the same."""
    sales, other = two_tasks(harness)
    running = harness.site.begin(other)
    ask(harness, sales)
    own = harness.site.begin(sales)
    reply = ask(harness, sales, requestId="later")
    assert reply["tasksQueued"][0]["behind"] == running
    for _ in range(20):  # the other is seen to run after the later request came
        harness.step()
    harness.site.end(other)
    harness.until(lambda: [one["state"] for one in harness.rows(tables.starts)] == ["running", "waiting"])
    assert harness.rows(tables.starts)[1]["behind"] == own
    harness.site.end(sales)
    harness.until(lambda: harness.site.posts == [sales])


def test_a_stage_waits_for_the_execution_of_another_task_that_it_skipped_for(harness: Harness) -> None:
    first, second = two_tasks(harness)
    last = harness.site.add("Publish")
    harness.site.begin(first)
    stages = [{"taskId": second}, {"taskId": last}]
    reply = harness.ask({"stages": stages, "ifRunning": "skip"})
    assert reply["tasksSkipped"][0]["runningTaskId"] == first
    for _ in range(3):
        harness.step()
    assert harness.site.posts == []
    harness.site.end(first)
    harness.until(lambda: harness.site.posts == [last])
