"""Starts: one task within one request, from waiting to its outcome."""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.open_stages import StagedRequest
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StartState, move
from butler_mqtt.journal import tables
from butler_mqtt.ledger.events import Events
from butler_mqtt.ledger.incident_log import NOT_STARTED, Incidents
from butler_mqtt.ledger.open_requests import OpenRequests
from butler_mqtt.ledger.stage_records import StageRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class Starts:
    """
    Changes the states of starts.

    A request whose starts are all decided by a change is answered in the same
    transaction. All methods raise RuntimeError for a change that
    `domain.states` does not allow.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        requests: OpenRequests,
        stages: StageRecords,
        events: Events,
        incidents: Incidents,
    ) -> None:
        self._turn = turn
        self._requests = requests
        self._stages = stages
        self._events = events
        self._incidents = incidents

    def waits(self, start: OpenStart, reason: str, behind: str | None = None) -> None:
        """Record that a start waits: behind an execution, for a slot, or for its time."""
        first = start.state is not StartState.WAITING
        start.reason, start.behind, start.run = reason, behind, None
        self._turn.unit.update(tables.starts, start.id, run=None, reason=reason, behind=behind)
        if first:
            self._events.publish(
                "queued", start.task, [start], reason=reason, behind=behind, place=start.place
            )
            self.move([start], StartState.WAITING)

    def running(
        self, starts: Sequence[OpenStart], run: int, execution_id: str | None, *, adopted: bool
    ) -> None:
        """Record that an execution serves *starts*."""
        for start in starts:
            if start.run != run:  # a column that is set is written to its indexes, changed or not
                start.run = run
                self._turn.unit.update(tables.starts, start.id, run=run)
            start.execution_id, start.adopted = execution_id, adopted
            self._turn.unit.update(tables.starts, start.id, execution_id=execution_id, adopted=adopted)
        self.move(starts, StartState.RUNNING)

    def skipped(
        self, starts: Sequence[OpenStart], execution_id: str | None, *, running_task: str | None = None
    ) -> None:
        """Record that the task, or another one of its app, ran already and was left alone, as asked."""
        for start in starts:
            start.execution_id, start.running_task = execution_id, running_task
            self._turn.unit.update(tables.starts, start.id, execution_id=execution_id)
            if running_task is not None:
                self._turn.unit.update(tables.starts, start.id, running_task=running_task)
            if start.stage is not None and execution_id is None:
                # Its stage cannot wait for what nobody can name.
                self._skipped_result(start, StartState.UNKNOWN)
        self.move(starts, StartState.SKIPPED)

    def covered_by(self, starts: Sequence[OpenStart], cancel: int) -> None:
        """Record that the request in the row *cancel* takes *starts* back, or has what they began stopped."""
        for start in starts:
            start.cancelled_by = cancel
            self._turn.unit.update(tables.starts, start.id, cancelled_by=cancel)

    def denied(self, starts: Sequence[OpenStart]) -> None:
        """Record that the gates do not let *starts* begin any more, when their turn has come."""
        for start in starts:
            if start.state is StartState.WAITING:  # else the reply says it
                message = "startTaskFilter, or what its sender may start, does not allow the task any more"
                self._events.publish("failed", start.task, [start], code="all_denied", message=message)
            self._turn.count(self._turn.counting.denied, start.identity)
        if starts:
            self._incidents.denied(starts)
            self.move(starts, StartState.DENIED)

    def skipped_ended(self, starts: Sequence[OpenStart], state: StartState) -> None:
        """Record how the execution ended for which *starts* were skipped; their stages waited for that."""
        for start in starts:
            self._skipped_result(start, state)
        self._end_stages_if_over(starts)

    def end_stage_if_over(self, staged: StagedRequest) -> None:
        """Record what a request with stages has come to, and reply to it if that decides it."""
        self._give_up(staged, self._stages.end_if_over(staged))
        if staged.owner is not None:
            self._requests.reply_if_decided(staged.owner)

    def take_back(self, staged: StagedRequest, details: str) -> None:
        """Record that no further stage of a request begins, since it was taken back."""
        left = self._stages.give_up(staged)
        if left:
            self.dropped(left, "cancelled", details, StartState.CANCELLED)

    def dropped(self, starts: Sequence[OpenStart], code: str, details: str, state: StartState) -> None:
        """Record that starts will not be carried out; an event reports it for those reported as queued."""
        queued = [start for start in starts if start.state is StartState.WAITING]
        own = {StartState.EXPIRED, StartState.CANCELLED, StartState.UNKNOWN}
        kind = state.value if state in own else "failed"
        by_task: dict[str, list[OpenStart]] = {}
        for start in queued:
            by_task.setdefault(start.task.id, []).append(start)
        for those in by_task.values():
            self._events.publish(kind, those[0].task, those, code=code, message=details)
        self.move(starts, state, code, details)

    def move(
        self,
        starts: Sequence[OpenStart],
        state: StartState,
        code: str | None = None,
        details: str | None = None,
    ) -> None:
        """
        Record the new *state* of all *starts*, and reply to the requests that are decided by it.

        Args:
            starts: Of any requests.
            state: `domain.states` must allow it for each.
            code: Why it was not started, as in docs/replies.md; None where it was.
            details: The same for people.
        """
        waiting = [start for start in starts if start.state is not StartState.RUNNING]
        for start in starts:
            before = start.state
            start.state = move(before, state, start.id)
            if before is not StartState.RUNNING:
                self._turn.count(self._turn.counting.start, _counted_as(start, state))
            start.code, start.details = code, details
            self._turn.unit.update(
                tables.starts, start.id, state=state, code=code, details=details, changed_at=now_ms()
            )
        if state in NOT_STARTED:
            self._incidents.moved(waiting)
            self._turn.alerting.not_started(waiting, state)
        self._end_stages_if_over(starts)
        for owner in {start.owner.id: start.owner for start in starts if start.owner is not None}.values():
            self._requests.reply_if_decided(owner)

    # ---- stages

    def _end_stages_if_over(self, starts: Sequence[OpenStart]) -> None:
        """Let the stages of *starts* that are over by now end."""
        for staged in {start.stage.of.id: start.stage.of for start in starts if start.stage}.values():
            if staged.id in self._stages.open:
                self.end_stage_if_over(staged)
            elif staged.owner is not None:
                self._requests.reply_if_decided(staged.owner)

    def _give_up(self, staged: StagedRequest, starts: Sequence[OpenStart]) -> None:
        if starts:
            details = f"stage {staged.failed} of the request failed, and nothing is started after it"
            self.dropped(starts, "previous_stage_failed", details, StartState.NOT_STARTED)

    def _skipped_result(self, start: OpenStart, state: StartState) -> None:
        start.skipped_result = state.value
        self._turn.unit.update(tables.starts, start.id, skipped_result=state)


def _counted_as(start: OpenStart, state: StartState) -> str:
    if state is StartState.RUNNING:
        return "adopted" if start.adopted else "started"
    return state.value
