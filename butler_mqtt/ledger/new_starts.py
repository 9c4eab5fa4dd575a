"""New starts: one task within one request, as it is decided."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.domain.model import Request, Task
from butler_mqtt.domain.open_stages import OpenStage
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import StartState, move
from butler_mqtt.journal import tables
from butler_mqtt.journal.write_batch import Value
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class RequestFacts(Protocol):
    """What a start needs of its request."""

    id: int
    request_id: str
    request: Request
    door: str
    rule: str | None
    expires_at: int | None
    identity: str | None


class NewStarts:
    """
    Records starts.

    Args:
        turn: Gathers the rows.
        if_running: `queue` or `skip`: what a request means that does not say.
    """

    def __init__(self, turn: UnitOfWork, if_running: str) -> None:
        self._turn = turn
        self._skip_if_running = if_running == "skip"

    def insert(
        self,
        asked: RequestFacts,
        owner: OpenRequest | None,
        task: Task,
        state: StartState,
        matched_by: Iterable[str],
        *,
        stage: OpenStage | None = None,
        reason: str | None = None,
    ) -> OpenStart:
        """
        Record a start in its first state.

        Args:
            asked: The request, or its stages.
            owner: The request while it is open; it gets the start.
            task: What is to be started.
            state: `domain.states` must allow it for a new row.
            matched_by: The selectors that matched the task.
            stage: The stage it belongs to, which gets it too.
            reason: What it waits for.

        Raises:
            RuntimeError: A start may not begin in *state*.
        """
        start = OpenStart(
            self._turn.new_id(tables.starts),
            owner,
            asked.id,
            asked.request_id,
            task,
            move(None, state, task.id),
            expires_at=asked.expires_at,
            not_before=to_ms(asked.request.not_before),
            skip_if_running=self._skips(asked.request),
            reason=reason,
            door=asked.door,
            sender=asked.identity or asked.request.sender,
            stage=stage,
            identity=asked.identity,
            rule=asked.rule,
        )
        if owner is not None:
            owner.starts.append(start)
        self._count(start)
        row: dict[str, Value] = {
            "id": start.id,
            "request": asked.id,
            **_named(task),
            "kinds": ",".join(matched_by),
            "state": state,
            "adopted": False,
            "changed_at": now_ms(),
        }
        if stage is not None:
            stage.starts.append(start)
            row |= {"stage": stage.number, "reason": reason}
        self._turn.unit.insert(tables.starts, row)
        return start

    def _count(self, start: OpenStart) -> None:
        if start.state is not StartState.PLANNED:
            self._turn.count(self._turn.counting.start, start.state.value)
        if start.state is StartState.DENIED:
            self._turn.count(self._turn.counting.denied, start.identity)

    def _skips(self, request: Request) -> bool:
        return self._skip_if_running if request.if_running is None else request.if_running == "skip"


def _named(task: Task) -> dict[str, Value]:
    return {"task_id": task.id, "task_name": task.name, "task_type": task.task_type}
