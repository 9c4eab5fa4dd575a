"""Starts that waited for capacity are compared with what the server shows right before their POST."""

from __future__ import annotations

from butler_mqtt.contract.request_status import request_status
from butler_mqtt.journal import tables
from butler_mqtt.journal.status_rows import StatusReader
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import cut_before_effect

ONE_AT_A_TIME = Settings(start_task=StartTask(max_concurrent_reloads=1))


def execution_of(harness: Harness, start: int) -> str | None:
    execution: str | None = harness.rows(tables.starts)[start]["execution_id"]
    return execution


def waiting(harness: Harness) -> tuple[str, str]:
    """Let one task run and a start of another wait for its end; return both tasks."""
    first, second = harness.site.add("First"), harness.site.add("Second")
    harness.ask({"taskId": first})
    reply = harness.ask({"taskId": second})
    assert reply["tasksQueued"][0]["reason"] == "capacity"
    return first, second


def test_an_execution_from_before_the_intent_is_not_adopted(make_harness: MakeHarness) -> None:
    harness = make_harness(ONE_AT_A_TIME)
    first, second = waiting(harness)
    harness.site.begin(second)  # by another
    harness.site.end(second)
    harness.site.pass_time(60)
    harness.site.script.append(cut_before_effect)
    harness.site.end(first)
    harness.until(lambda: execution_of(harness, 1))
    assert harness.site.posts == [first, second]
    assert execution_of(harness, 1) == harness.site.history[second][0].id


def test_nor_by_one_that_waited_behind_an_execution_before(make_harness: MakeHarness) -> None:
    harness = make_harness(ONE_AT_A_TIME)
    first, second = harness.site.add("First"), harness.site.add("Second")
    harness.ask({"taskId": first})
    harness.site.end(first)
    running = harness.site.begin(second)
    harness.until(lambda: not harness.pipeline.dispatcher.tracker.executing)
    assert harness.ask({"taskId": second})["tasksQueued"][0]["behind"] == running
    harness.ask({"taskId": first})
    # It ends while there is no room, and another has the task run once more.
    harness.site.end(second)
    harness.until(lambda: harness.pipeline.dispatcher.tracker.get(running) is None)
    harness.step()
    harness.site.begin(second)
    harness.site.end(second)
    harness.site.pass_time(60)
    harness.site.script.append(cut_before_effect)
    harness.site.end(first)
    harness.until(lambda: execution_of(harness, 1))
    assert harness.site.posts == [first, first, second]


def test_one_that_began_after_the_request_and_still_runs_serves_it(make_harness: MakeHarness) -> None:
    harness = make_harness(ONE_AT_A_TIME)
    first, second = waiting(harness)
    began = harness.site.begin(second)  # by another
    harness.site.end(first)
    harness.until(lambda: execution_of(harness, 1))
    assert (harness.site.posts, execution_of(harness, 1)) == ([first], began)


def test_one_that_began_before_the_request_and_after_an_older_reading_does_not(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(ONE_AT_A_TIME)
    first, second = harness.site.add("First"), harness.site.add("Second")
    harness.ask({"taskId": second, "dryRun": True})
    began = harness.site.begin(second)  # by another
    harness.ask({"taskId": first})
    asked = len(harness.site.asked)
    assert harness.ask({"taskId": second})["tasksQueued"][0]["reason"] == "capacity"
    assert len(harness.site.asked) == asked
    harness.site.end(first)
    harness.until(lambda: harness.rows(tables.starts)[-1]["reason"] == "running")
    assert harness.rows(tables.starts)[-1]["behind"] == began


def test_a_request_shows_its_present_place_in_the_queue_for_capacity(make_harness: MakeHarness) -> None:
    harness = make_harness(ONE_AT_A_TIME)
    first, _ = waiting(harness)
    last = harness.site.add("Last")
    harness.ask({"requestId": "last", "taskId": last})

    def place() -> object:
        reader = StatusReader(harness.path)
        rows = reader.request("last")
        assert rows is not None
        places = harness.pipeline.dispatcher.places
        status = request_status(rows.request, rows.deliveries, rows.starts, places=places)
        queued = status["tasksQueued"]
        assert isinstance(queued, list)
        return queued[0].get("place")

    harness.until(lambda: place() == 2)
    harness.site.end(first)
    harness.until(lambda: place() == 1)
