"""Stages for tests, made of the states of their starts."""

from __future__ import annotations

from itertools import count

from butler_mqtt.domain.model import OnFailure, Request, StagePlan, Task
from butler_mqtt.domain.open_stages import OpenStage, StagedRequest
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StageState, StartState

_numbers = count(1)


def start(
    state: StartState, *, execution_id: str | None = "execution", skipped_result: str | None = None
) -> OpenStart:
    number = next(_numbers)
    return OpenStart(
        number,
        None,
        1,
        "request",
        Task(f"task-{number}", "Sales"),
        state,
        execution_id=execution_id,
        skipped_result=skipped_result,
    )


def staged(*states: StageState, on_failure: OnFailure = OnFailure.STOP) -> StagedRequest:
    """Return a request with stages in these states."""
    made = StagedRequest(1, "request", Request("{}", ""), None)
    made.stages = [
        OpenStage(number, number, StagePlan((), f"part {number}", on_failure=on_failure), state, made)
        for number, state in enumerate(states, 1)
    ]
    return made
