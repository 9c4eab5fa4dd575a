"""Stages in replies and events."""

from __future__ import annotations

from butler_mqtt.contract.stage_summary import ENDED, STARTED, entry, event, summary
from butler_mqtt.domain.states import StageState, StartState
from tests.unit.domain.stages import staged, start


def test_a_reply_has_each_stage_with_the_tasks_that_run_in_it() -> None:
    request = staged(StageState.SUCCEEDED, StageState.WAITING)
    request.stages[0].starts = [start(StartState.SUCCEEDED), start(StartState.DENIED)]
    assert summary(request.stages) == [
        {"stage": 1, "name": "part 1", "status": "succeeded", "tasks": 1},
        {"stage": 2, "name": "part 2", "status": "waiting", "tasks": 0},
    ]


def test_a_stage_without_a_name_has_none_in_a_reply() -> None:
    assert entry(1, None, "running", 2) == {"stage": 1, "status": "running", "tasks": 2}


def test_an_event_has_the_same_id_whenever_the_same_fact_is_published() -> None:
    stage = staged(StageState.RUNNING).stages[0]
    ids = [event(kind, stage)["eventId"] for kind in (STARTED, STARTED, ENDED)]
    assert ids == ["request/stage/1/stageStarted"] * 2 + ["request/stage/1/stageEnded"]


def test_an_event_names_the_rule_only_where_one_made_the_request() -> None:
    request = staged(StageState.RUNNING)
    assert "rule" not in event(STARTED, request.stages[0])
    request.rule = "orders"
    assert event(STARTED, request.stages[0])["rule"] == "orders"
