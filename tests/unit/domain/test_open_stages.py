"""What is open of a request with stages."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.states import StageState, StartState
from tests.unit.domain.stages import staged, start

WAITING, RUNNING = StageState.WAITING, StageState.RUNNING
SUCCEEDED, FAILED, NOT_STARTED = StageState.SUCCEEDED, StageState.FAILED, StageState.NOT_STARTED


def test_the_current_stage_is_the_first_that_is_not_over() -> None:
    request = staged(SUCCEEDED, RUNNING, WAITING)
    assert request.current is request.stages[1]
    assert not request.over


def test_a_request_is_over_when_all_its_stages_are() -> None:
    assert staged(SUCCEEDED, FAILED, NOT_STARTED).over
    assert staged(SUCCEEDED, FAILED, NOT_STARTED).current is None


def test_of_several_stages_that_failed_the_last_is_named() -> None:
    assert staged(FAILED, FAILED, NOT_STARTED).failed == 2
    assert staged(SUCCEEDED, WAITING).failed is None


@pytest.mark.parametrize(
    ("state", "execution_id", "skipped_result", "goes_on"),
    [
        (StartState.PLANNED, None, None, True),
        (StartState.WAITING, None, None, True),
        (StartState.RUNNING, "execution", None, True),
        (StartState.RUNNING, None, None, False),
        (StartState.SKIPPED, "execution", None, True),
        (StartState.SKIPPED, "execution", "failed", False),
        (StartState.SUCCEEDED, "execution", None, False),
        (StartState.UNKNOWN, None, None, False),
    ],
)
def test_a_stage_waits_for_what_may_still_begin_or_end_and_can_be_seen_to(
    state: StartState, execution_id: str | None, skipped_result: str | None, goes_on: bool
) -> None:
    stage = staged(RUNNING).stages[0]
    stage.starts = [start(state, execution_id=execution_id, skipped_result=skipped_result)]
    assert stage.goes_on is goes_on


def test_a_task_that_is_denied_does_not_run_in_its_stage() -> None:
    stage = staged(RUNNING).stages[0]
    stage.starts = [start(StartState.RUNNING), start(StartState.DENIED)]
    assert stage.tasks == 1


def test_a_request_counts_as_cancelled_when_a_start_of_any_stage_is() -> None:
    request = staged(SUCCEEDED, RUNNING)
    assert not request.cancelled
    request.stages[1].starts = [start(StartState.CANCELLED)]
    assert request.cancelled


def test_what_several_stages_did_not_find_is_named_once() -> None:
    request = staged(SUCCEEDED, FAILED)
    request.stages[0].not_found = [{"tag": "a"}]
    request.stages[1].not_found = [{"tag": "b"}, {"tag": "a"}]
    assert request.not_found() == [{"tag": "a"}, {"tag": "b"}]
