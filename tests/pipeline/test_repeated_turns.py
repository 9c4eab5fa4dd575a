"""Turns that are repeated, or hold events of several kinds, lose nothing and start nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.domain.completions import AcknowledgementsRead
from butler_mqtt.domain.model import TaskType
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import cut_before_effect


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()


def test_an_equal_message_whose_packet_id_is_in_use_again_is_recorded_by_a_repeated_turn(
    harness: Harness,
) -> None:
    task = harness.site.add("Sales")
    harness.site.lasting = False
    first = harness.send({"taskId": task})
    harness.until(lambda: len(harness.site.posts) == 1)
    harness.until(lambda: len(harness.replies()) == 1)
    harness.journal.fail("before")
    harness.deliver(first)
    harness.until(lambda: len(harness.site.posts) == 2)


def test_an_id_that_comes_twice_in_one_turn_with_a_proof_between_is_one_request(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task = harness.site.add("Sales")
    harness.turn()
    harness.send({"taskId": task, "requestId": "x"})
    harness.pipeline.emit(AcknowledgementsRead(1, 0))
    harness.send({"taskId": task, "requestId": "x"}, correlation=b"2")
    harness.until(lambda: len(harness.replies()) == 2)
    assert len(harness.site.posts) == 1
    assert "bug" not in {getattr(record, "action", "") for record in caplog.records}


def test_what_ran_before_its_time_is_not_taken_for_a_start_that_waited_for_it(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task, "notBefore": soon(), "wait": "finished"})
    harness.until(lambda: len(harness.open_rows()) == 1)
    harness.site.pass_time(3600)
    harness.site.begin(task)
    harness.site.end(task)
    harness.site.pass_time(3600)
    harness.site.script.append(cut_before_effect)
    harness.until(lambda: len(harness.site.posts) == 1)


def test_a_task_disabled_while_it_waited_is_not_posted_after_a_restart(harness: Harness) -> None:
    task = harness.site.add("Spread", task_type=int(TaskType.DISTRIBUTE))
    harness.send({"taskId": task, "notBefore": soon(), "wait": "finished"})
    harness.until(lambda: len(harness.open_rows()) == 1)
    harness.site.change(task, enabled=False)
    harness.restart()
    harness.until(lambda: len(harness.replies()) == 1)
    assert harness.site.posts == []
    assert harness.replies()[0]["tasksFailed"][0]["code"] == "task_disabled"
