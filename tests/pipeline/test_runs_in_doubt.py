"""Runs whose outcome is in doubt: what they hold up, and what is concluded where nothing can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask, StartTaskFilter
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.site_double import Crash, Site, cut_before_effect

FORBIDDEN = QlikRefused("GET /qrs/task/full: 403", 403)


@pytest.fixture
def harness(make_harness: MakeHarness) -> Harness:
    return make_harness()


def killed_before_effect(site: Site, task: Task) -> str | None:
    """End the daemon before the start has left."""
    del site, task
    raise Crash


def killed(harness: Harness, task: str) -> None:
    """Let a request come, and kill the daemon while its POST is in hand; it is started again."""
    harness.site.script.append(killed_before_effect)
    harness.send({"requestId": "first", "taskId": task})
    with pytest.raises(Crash):
        harness.replied()
    harness.restart()


def test_one_of_a_process_that_was_killed_is_recorded_as_in_doubt(harness: Harness) -> None:
    killed(harness, harness.site.add("Sales"))
    harness.turn()
    [run] = harness.rows(tables.runs)
    assert (run["state"], run["details"]) == ("posted", "the daemon ended before the outcome was recorded")


def test_another_request_for_its_task_waits_for_its_outcome(harness: Harness) -> None:
    task = harness.site.add("Sales")
    killed(harness, task)
    harness.send({"requestId": "second", "taskId": task})
    for act in (harness.turn, harness.find, harness.turn, harness.post, harness.turn):
        act()
    # Its decision is on disk, and not even intended is another POST.
    assert [row["state"] for row in harness.rows(tables.starts)] == ["planned", "planned"]
    assert len(harness.rows(tables.runs)) == 1
    # It came before that execution began, which serves it too.
    assert [one["totalTasksStarted"] for one in harness.replied(2)] == [1, 1]
    assert harness.site.posts == [task]


def test_what_waits_to_be_posted_again_is_posted_once_after_a_fault_of_the_journal(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, longest_pause=60.0))
    task = harness.site.add("Sales")
    harness.site.lasting = False
    harness.site.script.append(QlikUnavailable("429 with too many calls", retry_after=0.2))
    harness.send({"taskId": task})
    harness.until(lambda: not harness.site.script)
    harness.turn()
    harness.journal.fail("before")
    harness.send({"taskName": "None such"})
    harness.until(lambda: not harness.journal.faults)
    replies = harness.replied(2)
    [started] = [one for reply in replies for one in reply["tasksStarted"]]
    assert "adopted" not in started
    assert harness.site.posts == [task]


def test_what_kept_it_from_starting_ended_on_a_node_with_a_slow_clock_and_the_journal_failed(
    harness: Harness,
) -> None:
    task = harness.site.add("Sales")
    harness.site.node_clocks = (-60.0,)
    harness.site.begin(task)

    def refused(site: Site, task: Task) -> str | None:
        answer = site.start_now(task)
        site.end(task.id)
        return answer

    harness.site.script.append(refused)
    harness.send({"taskId": task})
    for act in (harness.turn, harness.find, harness.turn, harness.post):
        act()
    harness.journal.fail("before")
    [reply] = harness.replied()
    assert reply["totalTasksStarted"] == 1, reply
    assert harness.site.posts == [task]


def test_one_that_is_denied_leaves_its_place_to_others(make_harness: MakeHarness) -> None:
    settings = Settings(
        start_task=StartTask(max_concurrent_reloads=1),
        start_task_filter=StartTaskFilter(enable=True, tags=("daily",)),
    )
    harness = make_harness(settings)
    first, second = (harness.site.add(name, tags=("daily",)) for name in ("Sales", "Stock"))
    killed(harness, first)
    harness.site.change(first, tags=())
    harness.replied()
    harness.send({"taskId": second})
    harness.until(lambda: harness.site.posts == [second])


def test_while_another_answers_for_the_repository_the_next_post_is_put_off(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, longest_pause=60.0))
    first, second = harness.site.add("Sales"), harness.site.add("Stock")

    def page(site: Site, task: Task) -> str | None:
        del site, task
        raise OutcomeUnknown("400 with an HTML page", by_another=True)

    harness.site.script.append(page)
    harness.send({"taskId": first})
    harness.until(lambda: not harness.site.script)
    harness.send({"taskId": second})
    for act in (harness.turn, harness.find, harness.turn, harness.post, harness.turn):
        act()
    assert harness.site.posts == []
    harness.until(lambda: second in harness.site.posts)


def test_an_id_that_cannot_be_checked_is_believed(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)

    def answer(site: Site, task: Task) -> str | None:
        site.end(task.id)
        return site.start_now(task)

    harness.site.script.append(answer)
    harness.site.snapshot_errors.append(FORBIDDEN)
    reply: dict[str, Any] = harness.ask({"taskId": task})
    assert [one["executionId"] for one in reply["tasksStarted"]] == [harness.site.running(task).id]  # type: ignore[union-attr]


def test_an_empty_id_whose_reason_cannot_be_read_is_not_started(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(lambda _site, _task: EMPTY_GUID)
    harness.site.snapshot_errors.extend([FORBIDDEN] * 2)
    reply: dict[str, Any] = harness.ask({"taskId": task})
    assert [one["code"] for one in reply["tasksFailed"]] == ["not_started"]
    assert reply["tasksFailed"][0]["details"].endswith("its reason cannot be read")


def test_that_its_task_cannot_be_read_is_noted_once_however_often_it_is_tried(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(cut_before_effect)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 4)
    harness.ask({"taskId": task})
    notes = [row["text"] for row in harness.rows(tables.notes)]
    assert len([one for one in notes if "could not be read from the Qlik server" in one]) == 1


def test_what_it_waited_behind_is_not_adopted_whatever_it_is_stamped(harness: Harness) -> None:
    harness.site.shows_last = False
    harness.site.node_clocks = (30.0,)
    task = harness.site.add("Sales")
    before = harness.site.begin(task)
    harness.ask({"taskId": task})
    harness.site.end(task)
    harness.site.script.append(cut_before_effect)
    harness.until(lambda: harness.rows(tables.starts)[0]["state"] not in {"planned", "waiting"})
    assert harness.rows(tables.starts)[0]["execution_id"] != before
