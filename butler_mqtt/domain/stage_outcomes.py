"""
What makes a stage succeed, and what follows when it does not (design: contract 4.7).

A task that was skipped because it ran counts with the execution it was skipped for.
"""

from __future__ import annotations

from butler_mqtt.domain.model import OnFailure
from butler_mqtt.domain.open_stages import OpenStage
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StageState, StartState


def succeeded(stage: OpenStage) -> bool:
    """Return whether all that was asked for was found, and succeeded."""
    return not stage.refused and not stage.not_found and all(_good(start) for start in stage.starts)


def stops_the_rest(stage: OpenStage) -> bool:
    """Return whether nothing comes after a stage that has failed."""
    return stage.state is StageState.FAILED and stage.plan.on_failure is OnFailure.STOP


def _good(start: OpenStart) -> bool:
    if start.state is StartState.SKIPPED:
        return start.skipped_result == StartState.SUCCEEDED
    # One that runs on and is over for the stage is of a kind that cannot be tracked.
    return start.state in {StartState.SUCCEEDED, StartState.RUNNING}
