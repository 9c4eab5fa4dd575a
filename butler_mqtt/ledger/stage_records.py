"""Stages: from the decision of their request to their end; those that are open are kept in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.contract import replies, stage_summary
from butler_mqtt.domain.decisions import Decision
from butler_mqtt.domain.model import Request, Task
from butler_mqtt.domain.open_stages import OpenStage, StagedRequest
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.stage_outcomes import stops_the_rest, succeeded
from butler_mqtt.domain.states import StageState, StartState, move
from butler_mqtt.journal import tables
from butler_mqtt.journal.write_batch import Value
from butler_mqtt.ledger.events import Events
from butler_mqtt.ledger.new_starts import NewStarts
from butler_mqtt.ledger.unit_of_work import UnitOfWork

_log = logging.getLogger("butler_mqtt.ledger")


class Begun(NamedTuple):
    """The starts of a stage that has begun: to be carried out, not allowed, not selected any more."""

    ready: list[OpenStart]
    denied: list[OpenStart]
    left_out: list[OpenStart]


class StageRecords:
    """
    The requests with open stages by row, and all changes to stages.

    A stage ends, and the later ones are given up, in the transaction of the last
    start that it waited for; the next one begins when its selectors have been
    resolved again. All methods raise RuntimeError for a change that
    `domain.states` does not allow.

    Args:
        turn: Gathers the rows.
        events: Publishes what becomes of stages.
        new_starts: Records starts.
    """

    def __init__(self, turn: UnitOfWork, events: Events, new_starts: NewStarts) -> None:
        self._turn = turn
        self._events = events
        self._new_starts = new_starts
        #: Requests of which a stage is not over.
        self.open: dict[int, StagedRequest] = {}
        #: Those decided in this turn, and those whose next stage has its turn.
        self.decided_now: list[StagedRequest] = []
        self.due: dict[int, StagedRequest] = {}
        #: Whether one came into `due` since `starting.stages` took them up.
        self.newly_due = False

    def load(self, opened: Iterable[StagedRequest]) -> None:
        """Replace what is in memory."""
        self.open = {staged.id: staged for staged in opened if not staged.over}
        self.decided_now = []
        self.due = {}

    def decided(self, opened: OpenRequest, decision: Decision) -> list[OpenStart]:
        """
        Record the stages of a request that is decided, with their starts.

        Returns:
            The starts that are to be carried out now.
        """
        request = opened.request
        staged = StagedRequest(
            opened.id,
            opened.request_id,
            request,
            opened,
            opened.door,
            opened.expires_at,
            to_ms(request.not_before),
            identity=opened.identity,
            rule=opened.rule,
        )
        opened.staged = staged
        at_once = not request.dry_run and (staged.not_before is None or staged.not_before <= now_ms())
        for number in range(1, len(request.stages) + 1):
            self._insert(staged, number, decision)
        first = staged.stages[0]
        planned = []
        for task in decision.tasks:
            stage = staged.stages[decision.stages[task.id] - 1]
            state, reason = _first_state(request, is_first=stage is first, at_once=at_once)
            start = self._start(staged, stage, task, state, decision, reason)
            if state is StartState.WAITING:
                self._events.publish("queued", task, [start], reason=reason)
            elif state is StartState.PLANNED:
                planned.append(start)
        for task in decision.denied:
            stage = staged.stages[decision.stages[task.id] - 1]
            self._start(staged, stage, task, StartState.DENIED, decision)
        if not request.dry_run:
            self.open[opened.id] = staged
            self.decided_now.append(staged)
            if at_once:
                self._begin(first)
        return planned

    def begin(self, staged: StagedRequest, decision: Decision) -> Begun:
        """
        Record that the next stage begins, with the tasks that its selectors mean now.

        The caller moves the starts that are denied or left out, and carries out the others.
        """
        self.due.pop(staged.id, None)
        stage = _next(staged)
        self._found(stage, list(replies.not_found(decision.missing[stage.number])))
        self._begin(stage)
        known = {start.task.id: start for start in staged.starts()}
        ready, denied = [], []
        for task in decision.tasks:
            start = known.get(task.id) or self._start(
                staged, stage, task, StartState.WAITING, decision, "stage"
            )
            self._move_to(start, stage)
            if start.state is StartState.WAITING:
                start.task, start.unread, start.found_before = task, False, False
                ready.append(start)
        for task in decision.denied:
            waited = known.get(task.id)
            if waited is None:
                self._start(staged, stage, task, StartState.DENIED, decision)
            elif waited.state is StartState.WAITING:
                self._move_to(waited, stage)
                denied.append(waited)
        chosen = {*ready, *denied}
        waiting = [start for start in stage.starts if start.state is StartState.WAITING]
        return Begun(ready, denied, [start for start in waiting if start not in chosen])

    def refused(self, staged: StagedRequest) -> list[OpenStart]:
        """Record that the next stage begins and nothing of it can be started; return its starts."""
        self.due.pop(staged.id, None)
        stage = _next(staged)
        stage.refused = True
        self._begin(stage)
        return [start for start in stage.starts if start.state is StartState.WAITING]

    def end_if_over(self, staged: StagedRequest) -> list[OpenStart]:
        """
        Record the end of the stage that runs, if it is over, and whose turn comes then.

        Returns:
            The starts of later stages that will not begin; the caller moves them.
        """
        if staged.cancelled:
            # Whoever took it back moves the starts, these too.
            self.give_up(staged)
        stage = staged.current
        if stage is not None and stage.state is StageState.RUNNING:
            if stage.goes_on:
                return []
            self._end(stage)
            if stops_the_rest(stage):
                return self.give_up(staged)
        if staged.over:
            self._close(staged)
        else:
            self.due[staged.id] = staged
            self.newly_due = True
        return []

    def give_up(self, staged: StagedRequest) -> list[OpenStart]:
        """Record that no further stage begins; return the starts that still wait for one."""
        left: list[OpenStart] = []
        for stage in staged.stages:
            if stage.state is StageState.WAITING:
                self._move(stage, StageState.NOT_STARTED)
                left += [start for start in stage.starts if start.state is StartState.WAITING]
        self.due.pop(staged.id, None)
        if staged.over:
            self._close(staged)
        return left

    # ---- helpers

    def _close(self, staged: StagedRequest) -> None:
        self.open.pop(staged.id, None)
        self.due.pop(staged.id, None)

    def _insert(self, staged: StagedRequest, number: int, decision: Decision) -> None:
        plan = staged.request.stages[number - 1]
        state = StageState.NOT_STARTED if staged.request.dry_run else StageState.WAITING
        stage = OpenStage(
            self._turn.new_id(tables.stages), number, plan, move(None, state, staged.request_id), staged
        )
        stage.not_found = list(replies.not_found(decision.missing[number]))
        staged.stages.append(stage)
        row: dict[str, Value] = {
            "id": stage.id,
            "request": staged.id,
            "number": number,
            "name": plan.name,
            "state": stage.state,
            "not_found": _written(stage.not_found),
        }
        self._turn.unit.insert(tables.stages, row)

    def _start(
        self,
        staged: StagedRequest,
        stage: OpenStage,
        task: Task,
        state: StartState,
        decision: Decision,
        reason: str | None = None,
    ) -> OpenStart:
        matched_by = decision.matched_by.get(task.id, ())
        return self._new_starts.insert(
            staged, staged.owner, task, state, matched_by, stage=stage, reason=reason
        )

    def _move_to(self, start: OpenStart, stage: OpenStage) -> None:
        """Let a start that waits for a later stage run in this one: the first that names its task."""
        if start.stage is stage or start.stage is None:
            return
        start.stage.starts.remove(start)
        stage.starts.append(start)
        start.stage = stage
        self._turn.unit.update(tables.starts, start.id, stage=stage.number)

    def _found(self, stage: OpenStage, not_found: list[Mapping[str, object]]) -> None:
        """Record what the selectors of a stage do not find now, in place of what they did not find before."""
        if not_found == stage.not_found:
            return
        stage.not_found = not_found
        self._turn.unit.update(tables.stages, stage.id, not_found=_written(not_found))
        of_all = stage.of.not_found()
        self._turn.unit.update(tables.requests, stage.of.id, not_found=_written(of_all))
        if stage.of.owner is not None:
            stage.of.owner.not_found = of_all
        if not_found:
            self._turn.after(_log_not_found, stage)

    def _begin(self, stage: OpenStage) -> None:
        self._move(stage, StageState.RUNNING)
        self._turn.unit.update(tables.stages, stage.id, began_at=now_ms())
        self._events.publish_stage(stage_summary.STARTED, stage)
        self._turn.after(_log_begun, stage)

    def _end(self, stage: OpenStage) -> None:
        self._move(stage, StageState.SUCCEEDED if succeeded(stage) else StageState.FAILED)
        self._turn.unit.update(tables.stages, stage.id, ended_at=now_ms())
        self._events.publish_stage(stage_summary.ENDED, stage)
        self._turn.after(_log_ended, stage)

    def _move(self, stage: OpenStage, state: StageState) -> None:
        stage.state = move(stage.state, state, stage.id)
        self._turn.unit.update(tables.stages, stage.id, state=state)


def _first_state(request: Request, *, is_first: bool, at_once: bool) -> tuple[StartState, str | None]:
    """Return the state of a start as its request is decided, and what it waits for."""
    if request.dry_run:
        return StartState.WOULD_START, None
    if is_first and at_once:
        return StartState.PLANNED, None
    return StartState.WAITING, "notBefore" if is_first else "stage"


def _next(staged: StagedRequest) -> OpenStage:
    stage = staged.current
    if stage is None:
        raise RuntimeError(f"request {staged.request_id} has no stage that could begin")
    return stage


def _written(not_found: Sequence[Mapping[str, object]]) -> str | None:
    return json.dumps(not_found, ensure_ascii=False) if not_found else None


def _named(stage: OpenStage) -> str:
    of_all = f"stage {stage.number} of {len(stage.of.stages)}"
    return f"{of_all} ({stage.plan.name})" if stage.plan.name else of_all


def _log_not_found(stage: OpenStage) -> None:
    _log.warning(
        "request %s: when %s began, no task was found for %s",
        stage.of.request_id,
        _named(stage),
        _written(stage.not_found[:5]),
        extra={"action": "selector_not_found", "request_id": stage.of.request_id},
    )


def _log_begun(stage: OpenStage) -> None:
    _log.info(
        "request %s: %s begins: %s tasks",
        stage.of.request_id,
        _named(stage),
        stage.tasks,
        extra={"action": "stage_started", "request_id": stage.of.request_id},
    )


def _log_ended(stage: OpenStage) -> None:
    failed = stage.state is StageState.FAILED
    later = stage.number < len(stage.of.stages)
    then = (
        ": the later stages are not started"
        if stops_the_rest(stage)
        else ": the next one begins all the same"
    )
    _log.log(
        logging.WARNING if failed else logging.INFO,
        "request %s: %s %s%s",
        stage.of.request_id,
        _named(stage),
        stage.state.value,
        then if failed and later else "",
        extra={"action": "stage_ended", "request_id": stage.of.request_id},
    )
