"""What is concluded about a run, or about a start that never got one."""

from __future__ import annotations

from dataclasses import dataclass

from butler_mqtt.domain.model import Execution
from butler_mqtt.domain.states import StartState


@dataclass(frozen=True, slots=True)
class Began:
    """An execution began; `execution_id` is None for a kind of task without executions."""

    execution_id: str | None
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class RanAlready:
    """An execution of the task ran already."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class AppRuns:
    """Nothing began, since an execution of another task of the same app runs."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Nothing began; `code` and `details` are those of the reply."""

    code: str
    details: str
    state: StartState = StartState.NOT_STARTED


@dataclass(frozen=True, slots=True)
class Undecidable:
    """The server cannot show what became of the POST; it is reported and not repeated."""

    details: str


@dataclass(frozen=True, slots=True)
class PostAgain:
    """
    Nothing began, and the run may be posted once more.

    `renewed`: as if it were intended only now, after what the server shows.
    """

    renewed: bool = False


Conclusion = Began | RanAlready | AppRuns | NotStarted | Undecidable | PostAgain

EXPIRED = NotStarted("expired", "it had not begun when the time of the request was over", StartState.EXPIRED)
