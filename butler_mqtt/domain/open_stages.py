"""
The stages of a request that are open right now, in memory.

A stage is over when none of its executions is active or still to come. A task
that was skipped because it ran counts with the execution it was skipped for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from butler_mqtt.domain.model import Request, StagePlan
from butler_mqtt.domain.states import StageState, StartState

if TYPE_CHECKING:
    from butler_mqtt.domain.open_work import OpenRequest, OpenStart

#: States in which nothing more comes of a stage.
OVER = frozenset({StageState.SUCCEEDED, StageState.FAILED, StageState.NOT_STARTED})


@dataclass(slots=True, eq=False)
class OpenStage:
    """
    One stage of a request.

    `number` counts from 1; `not_found` has the entries of `tasksNotFound` that
    its selectors led to when they were resolved last. `refused` is set when its
    turn had come and nothing of it could be decided.
    """

    id: int
    number: int
    plan: StagePlan
    state: StageState
    of: StagedRequest
    not_found: list[Mapping[str, object]] = field(default_factory=list)
    starts: list[OpenStart] = field(default_factory=list)
    refused: bool = False

    @property
    def over(self) -> bool:
        """Return whether nothing more comes of it."""
        return self.state in OVER

    @property
    def goes_on(self) -> bool:
        """Return whether an execution that it waits for is active or still to come."""
        return any(_goes_on(start) for start in self.starts)

    @property
    def tasks(self) -> int:
        """Count the tasks that run in this stage, or would."""
        return sum(start.state is not StartState.DENIED for start in self.starts)


@dataclass(slots=True, eq=False)
class StagedRequest:
    """
    A request with stages of which not all are over, or that has no reply yet.

    `id` is the row of the request, `owner` the open request, None once it has its
    reply and nobody waits for the end. `expires_at` and `not_before` are milliseconds since 1970,
    `identity` is where the request came from.
    """

    id: int
    request_id: str
    request: Request
    owner: OpenRequest | None
    door: str = ""
    expires_at: int | None = None
    not_before: int | None = None
    stages: list[OpenStage] = field(default_factory=list)
    identity: str | None = None
    rule: str | None = None

    @property
    def current(self) -> OpenStage | None:
        """Return the stage that runs, or whose turn has come; None when all are over."""
        return next((stage for stage in self.stages if not stage.over), None)

    @property
    def over(self) -> bool:
        """Return whether all stages are over."""
        return self.current is None

    @property
    def failed(self) -> int | None:
        """Return the number of the stage that failed last; None if none did."""
        return next(
            (stage.number for stage in reversed(self.stages) if stage.state is StageState.FAILED), None
        )

    @property
    def cancelled(self) -> bool:
        """Return whether the request was taken back."""
        return any(start.state is StartState.CANCELLED for start in self.starts())

    def starts(self) -> Iterator[OpenStart]:
        """Return the starts of all stages."""
        return (start for stage in self.stages for start in stage.starts)

    def not_found(self) -> list[Mapping[str, object]]:
        """Return what the selectors of all stages did not find, each once."""
        found: list[Mapping[str, object]] = []
        for stage in self.stages:
            found += [entry for entry in stage.not_found if entry not in found]
        return found


def _goes_on(start: OpenStart) -> bool:
    if start.state is StartState.RUNNING:
        return start.execution_id is not None
    if start.state is StartState.SKIPPED:
        return start.skipped_result is None
    return start.state in {StartState.PLANNED, StartState.WAITING}
