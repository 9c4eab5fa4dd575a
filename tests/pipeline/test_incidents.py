"""What went wrong is one line of the log, with all that an operator needs to find its cause."""

from __future__ import annotations

import json
import logging
import time

import pytest

from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.settings import Settings, StartTask, StartTaskFilter
from tests.pipeline.fixtures import MakeHarness
from tests.pipeline.harness import Harness


def lines(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    """Return the lines with *action*, all of which have to be warnings."""
    records = [one for one in caplog.records if getattr(one, "action", "") == action]
    assert {one.levelno for one in records} <= {logging.WARNING}
    return [one.getMessage() for one in records]


@pytest.mark.parametrize(("status", "how"), [(8, "failed"), (6, "was aborted"), (9, "was skipped")])
def test_an_execution_that_does_not_succeed_is_one_warning(
    harness: Harness, caplog: pytest.LogCaptureFixture, status: int, how: str
) -> None:
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "sender": "erp", "taskId": task})
    harness.site.end(task, status)
    harness.until(lambda: lines(caplog, "execution_failed"))
    harness.quiet()
    (line,) = lines(caplog, "execution_failed")
    assert line.startswith(f"request a (erp, mqtt): task Sales ({task}) {how}")


def test_an_execution_that_succeeds_is_no_warning(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.site.lasting = False
    harness.site.add("Sales")
    harness.ask({"taskName": "Sales", "wait": "finished"})
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_an_execution_that_fails_after_a_restart_names_its_request(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = harness.site.add("Sales")
    harness.ask({"requestId": "a", "sender": "erp", "taskId": task})
    harness.restart()
    harness.site.end(task, 8)
    harness.until(lambda: lines(caplog, "execution_failed"))
    assert "request a (erp, mqtt)" in lines(caplog, "execution_failed")[0]


def test_two_hundred_selectors_without_a_task_are_one_line(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.ask({"requestId": "a", "taskName": [f"gone {number}" for number in range(200)]})
    (line,) = lines(caplog, "selector_not_found")
    assert line == (
        "request a (mqtt): no task found for taskName gone 0, taskName gone 1, taskName gone 2, "
        "taskName gone 3, taskName gone 4 and 195 more"
    )


def test_tasks_that_may_not_be_started_are_one_line(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("free",))))
    harness.site.add("Sales", tags=("all", "free"))
    denied = [harness.site.add(f"Stock {number}", tags=("all",)) for number in range(20)]
    harness.ask({"requestId": "a", "tag": "all"})
    (line,) = lines(caplog, "start_denied")
    assert line.startswith("request a (mqtt): not allowed by startTaskFilter.allowTask")
    assert f"task Stock 0 ({denied[0]})" in line
    assert line.endswith("and 15 more")


def test_a_task_that_is_refused_by_the_server_is_one_line(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = harness.site.add("Sales")
    harness.site.add("Stock")
    harness.site.script.append(QlikRefused("no right to it", 403))
    answers = harness.call(json.dumps({"requestId": "a", "taskName": ["Sales", "Stock"]}).encode())
    harness.until(lambda: answers)
    (line,) = lines(caplog, "start_failed")
    assert line == f"request a (rest): task Sales ({task}) not started: qrs_forbidden: no right to it"


def test_a_request_that_is_refused_as_a_whole_is_one_line_with_its_sender(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.1)))
    for number in range(20):
        harness.site.add(f"Sales {number}", tags=("sales",))
    harness.site.script.extend([QlikUnavailable("connection refused")] * 100_000)
    assert harness.ask({"requestId": "a", "sender": "erp", "tag": "sales"})["code"] == "qrs_unavailable"
    (line,) = lines(caplog, "request_refused")
    assert line.startswith("request a (erp, mqtt) refused: qrs_unavailable: ")
    assert lines(caplog, "start_failed") == []


def test_a_dry_run_warns_of_nothing(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.site.add("Sales")
    harness.ask({"taskName": ["Sales", "gone"], "dryRun": True})
    assert lines(caplog, "selector_not_found") == []


def test_a_task_whose_time_runs_out_while_it_waits_is_one_line(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    harness.ask({"requestId": "a", "taskId": task, "expiresAt": at})
    harness.until(lambda: lines(caplog, "start_failed"))
    (line,) = lines(caplog, "start_failed")
    assert line.startswith(f"request a (mqtt): task Sales ({task}) not started: expired: ")


def test_requests_that_share_a_start_that_fails_share_its_line(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    for number in range(20):
        harness.send({"requestId": f"r{number}", "taskId": task})
    harness.replied(20)
    harness.site.script.append(QlikRefused("no right to it", 403))
    harness.site.end(task)
    harness.until(lambda: lines(caplog, "start_failed"))
    (line,) = lines(caplog, "start_failed")
    assert line.startswith(
        "requests r0 (mqtt), r1 (mqtt), r2 (mqtt), r3 (mqtt), r4 (mqtt) and 15 more: task Sales"
    )


def test_requests_that_wait_for_the_server_are_one_line_however_often_it_is_tried(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    harness.site.add("Sales")
    harness.site.resolve_errors.extend([QlikUnavailable("connection refused")] * 20)
    harness.site.script.extend([QlikUnavailable("connection refused")] * 20)
    harness.ask({"taskName": "Sales"})
    waiting = [one for one in caplog.records if getattr(one, "action", "") == "qrs_waiting"]
    told = [one.getMessage() for one in waiting if one.levelno > logging.DEBUG]
    assert len(waiting) > 30
    assert [line.partition(" ")[0] for line in told] == ["1", "task"]


def test_a_decision_is_a_line_at_debug_only(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    def decisions() -> list[str]:
        return [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "request_decided"]

    caplog.set_level(logging.INFO, "butler_mqtt")
    task = harness.site.add("Sales", tags=("all",))
    harness.ask({"requestId": "a", "taskId": task})
    assert decisions() == []
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    harness.ask({"requestId": "b", "sender": "erp", "taskName": ["Sales", "gone"], "tag": "all"})
    (line,) = decisions()
    assert line == (
        f"request b (erp, mqtt): selectors: 3; tasks to start: 1: task Sales ({task}) "
        "by taskName:0 and tag:2; not allowed: 0; selectors that found none: 1"
    )


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the ledger said became of requests, in order."""
    said = [getattr(one, "action", "") for one in caplog.records if one.name == "butler_mqtt.ledger"]
    return [one for one in said if one in {"request_answered", "request_refused", "stage_started"}]


def test_a_stage_begins_before_the_request_is_answered(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "butler_mqtt")
    # All in one turn, since the first stage has nothing to wait for.
    harness.ask({"stages": [{"tag": "nothing"}, {"taskId": harness.site.add("Sales")}]})
    assert actions(caplog) == ["stage_started", "request_answered"]


@pytest.mark.parametrize("task_id", ["that", "abc"], ids=["answered", "refused"])
def test_a_reply_that_had_to_be_written_again_is_logged_once(
    harness: Harness, caplog: pytest.LogCaptureFixture, task_id: str
) -> None:
    caplog.set_level(logging.INFO, "butler_mqtt")
    known = harness.site.add("Sales")
    harness.turn()
    harness.send({"requestId": "a", "taskId": known if task_id == "that" else task_id})
    # Each transaction fails once.
    harness.journal.faults.extend([("before", None), None] * 20)
    harness.replied()
    assert len(actions(caplog)) == 1
