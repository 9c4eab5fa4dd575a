"""What makes a stage succeed, and what follows when it does not."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import OnFailure
from butler_mqtt.domain.stage_outcomes import stops_the_rest, succeeded
from butler_mqtt.domain.states import StageState, StartState
from tests.unit.domain.stages import staged, start

GOOD = {StartState.SUCCEEDED, StartState.RUNNING}


@pytest.mark.parametrize("state", StartState)
def test_a_stage_succeeds_only_with_starts_that_did(state: StartState) -> None:
    stage = staged(StageState.RUNNING).stages[0]
    stage.starts = [start(StartState.SUCCEEDED), start(state)]
    assert succeeded(stage) is (state in GOOD)


@pytest.mark.parametrize(
    ("result", "good"), [("succeeded", True), ("failed", False), ("unknown", False), (None, False)]
)
def test_a_task_that_was_skipped_counts_with_the_execution_it_was_skipped_for(
    result: str | None, good: bool
) -> None:
    stage = staged(StageState.RUNNING).stages[0]
    stage.starts = [start(StartState.SKIPPED, skipped_result=result)]
    assert succeeded(stage) is good


def test_a_stage_that_found_not_all_or_was_refused_has_not_succeeded() -> None:
    missing, refused, empty = staged(*[StageState.RUNNING] * 3).stages
    missing.not_found = [{"tag": "a"}]
    refused.refused = True
    assert [succeeded(one) for one in (missing, refused, empty)] == [False, False, True]


@pytest.mark.parametrize(
    ("state", "on_failure", "stops"),
    [
        (StageState.FAILED, OnFailure.STOP, True),
        (StageState.FAILED, OnFailure.CONTINUE, False),
        (StageState.SUCCEEDED, OnFailure.STOP, False),
    ],
)
def test_only_a_failure_stops_the_rest_and_only_where_it_is_to(
    state: StageState, on_failure: OnFailure, stops: bool
) -> None:
    assert stops_the_rest(staged(state, on_failure=on_failure).stages[0]) is stops
