"""What stands in the repository's place answers a start with a page: reconciled, then an outage (G6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.errors import OutcomeUnknown
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.site_double import OUR_USER, Site

#: POSTs answered with a page where a test is about many.
MANY = 12

PAGE = "POST /qrs/task/start/synchronous: 400 an HTML page titled 'Bad Request'"


def page(site: Site, task: Task) -> str | None:
    """Answer a start instead of the repository."""
    del site, task
    raise OutcomeUnknown(PAGE, by_another=True)


def page_after_effect(site: Site, task: Task) -> str | None:
    """Pass a start on and answer in the repository's place."""
    site.start_now(task)
    raise OutcomeUnknown(PAGE, by_another=True)


@pytest.fixture
def hasty(make_harness: MakeHarness) -> Callable[..., Harness]:
    """Give a harness whose intents are too old to be posted again almost at once."""

    def make(settings: Settings | None = None) -> Harness:
        return make_harness(settings, qlik_timings=replace(SHORT_QLIK, longest_intent=0.05))

    return make


def test_a_start_waits_for_as_long_as_another_answers_and_is_carried_out_once(
    hasty: Callable[..., Harness],
) -> None:
    """It ended as `outcome_unknown` when the intent was 10 minutes old."""
    harness = hasty()
    task = harness.site.add("Sales")
    harness.site.script.extend([page] * MANY)
    harness.send({"taskId": task})
    harness.until(lambda: not harness.site.script)
    reply = harness.replied()[0]
    assert reply["totalTasksStarted"] == 1
    assert harness.site.posts == [task]


def test_at_the_deadline_it_is_an_outage_that_names_the_page(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.5)))
    task = harness.site.add("Sales")
    harness.site.script.extend([page] * 1000)
    reply = harness.ask({"taskId": task, "requestId": "a"})
    assert reply["code"] == "qrs_unavailable"
    assert "an HTML page titled 'Bad Request'; the server shows that nothing began" in reply["details"]
    assert harness.site.posts == []
    # The id is free: the same again is a real retry.
    harness.site.script.clear()
    assert harness.ask({"taskId": task, "requestId": "a"})["totalTasksStarted"] == 1


def test_one_that_was_passed_on_all_the_same_is_adopted(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(page_after_effect)
    reply = harness.ask({"taskId": task})
    assert reply["tasksStarted"][0]["adopted"] is True
    assert harness.site.posts == [task]


def test_one_that_takes_effect_late_is_adopted(hasty: Callable[..., Harness]) -> None:
    harness = hasty()
    task = harness.site.add("Sales")

    def late(site: Site, _task: Task) -> str | None:
        site.begin(task, OUR_USER)
        return EMPTY_GUID

    harness.site.script.extend([page] * MANY)
    harness.site.script.append(late)
    reply = harness.ask({"taskId": task})
    assert reply["tasksStarted"][0]["adopted"] is True
    assert len(harness.site.history[task]) == 1


def test_the_log_and_the_timeline_do_not_fill(
    hasty: Callable[..., Harness], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    harness = hasty()
    task = harness.site.add("Sales")
    harness.site.script.extend([page] * MANY)
    harness.ask({"taskId": task})
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert {name: actions.count(name) for name in ("run_in_doubt", "run_repeated", "qrs_waiting")} == {
        "run_in_doubt": 1,
        "run_repeated": 1,
        "qrs_waiting": 1,
    }
    kinds = [row["kind"] for row in harness.rows(tables.notes)]
    assert len(kinds) == 3 * 4


def test_the_others_are_started_meanwhile(harness: Harness) -> None:
    sales, stock = harness.site.add("Sales"), harness.site.add("Stock")

    def only_sales(site: Site, task: Task) -> str | None:
        site.script.append(only_sales)
        return page(site, task) if task.id == sales else site.start_now(task)

    harness.site.script.append(only_sales)
    harness.send({"taskId": sales})
    harness.until(lambda: harness.rows(tables.runs))
    harness.ask({"taskId": stock})
    assert harness.site.posts == [stock]


def test_a_process_that_is_killed_meanwhile_goes_on(hasty: Callable[..., Harness]) -> None:
    harness = hasty()
    task = harness.site.add("Sales")
    harness.site.script.extend([page] * MANY)
    harness.send({"taskId": task})
    harness.until(lambda: len(harness.site.script) == MANY // 2)
    harness.qlik_timings = replace(SHORT_QLIK, longest_intent=600.0)
    harness.restart()
    assert harness.replied()[0]["totalTasksStarted"] == 1
    assert harness.site.posts == [task]
