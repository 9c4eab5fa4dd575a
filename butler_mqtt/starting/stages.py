"""
Begins each stage of a request when the one before it is over.

That it is over, and what follows from that, is recorded by the ledger with the
last start of the stage. Here the next stage's selectors are resolved again, the
gates judge its tasks, and its starts join all others.
"""

from __future__ import annotations

import logging

from butler_mqtt.clock import LAST_MS, now_ms
from butler_mqtt.domain import decisions
from butler_mqtt.domain.decisions import Decision, RefusedDecision
from butler_mqtt.domain.model import SelectorKind
from butler_mqtt.domain.open_stages import StagedRequest
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.states import StageState, StartState
from butler_mqtt.errors import RequestError
from butler_mqtt.journal.sqlite_errors import is_of_the_journal
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.resolving.request_decisions import without_refusals
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.resolving.stage_questions import StageAnswer
from butler_mqtt.settings import Settings
from butler_mqtt.starting.conclusions import EXPIRED
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.pending_starts import PendingStarts

_FAULT = ("internal_error", "its stage could not begin; see the log")

_log = logging.getLogger("butler_mqtt.stages")


class Stages:
    """
    Has the stages resolved whose turn has come, and begins them.

    Args:
        settings: Limits.
        resolver: Has selectors resolved, and knows what may be started.
        ledger: Where it is recorded; knows whose turn has come.
        pending: Gets the starts.
        tracker: Tracks the executions for which starts were skipped.
    """

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        ledger: Ledger,
        pending: PendingStarts,
        tracker: ExecutionTracker,
    ) -> None:
        self._max_tasks = settings.start_task.max_tasks_per_request
        self._gates = resolver.gates
        self._ledger = ledger
        self._pending = pending
        self._tracker = tracker
        self._questions = resolver.stage_questions
        #: The questions asked, by number and by request.
        self._asked: dict[int, StagedRequest] = {}
        self._waiting: set[int] = set()
        #: Requests whose next stage a fault of ours kept from beginning.
        self._unrecordable: set[int] = set()
        #: When one of those that wait for their time is next to be looked at, in milliseconds since 1970.
        self._due_at = 0

    def reset(self) -> None:
        """Forget what was asked; it is asked again."""
        self._asked.clear()
        self._waiting.clear()
        self._due_at = 0

    def restore(self, staged: StagedRequest, *, discarded: str | None) -> None:
        """
        Accept a request with open stages that was read from the journal.

        Args:
            staged: The ledger has it too.
            discarded: Why no further stage is to begin; None: it goes on.
        """
        if discarded is not None:
            self._ledger.starts.take_back(staged, discarded)
        running = staged.current
        if running is not None and running.state is StageState.RUNNING:
            for start in running.starts:
                if start.state is StartState.SKIPPED and start.skipped_result is None:
                    self._tracker.await_result(start.execution_id or "", start.task, [start])
        self._ledger.starts.end_stage_if_over(staged)

    def turn(self) -> None:
        """Begin the stages whose tasks are known now, and ask for those of others."""
        stages = self._ledger.stages
        while stages.decided_now:
            staged = stages.decided_now.pop()
            self._pending.hold(start for start in staged.starts() if start.state is StartState.WAITING)
            self._ledger.starts.end_stage_if_over(staged)
        for number, answer in self._questions.answers():
            asked = self._asked.pop(number, None)
            if asked is not None:
                self._waiting.discard(asked.id)
                if asked.id in stages.due:
                    self._answered(asked, answer)
        if stages.due and (stages.newly_due or now_ms() >= self._due_at):
            stages.newly_due = False
            self._ask()

    # ---- helpers

    def _ask(self) -> None:
        now = now_ms()
        self._due_at = LAST_MS
        for staged in list(self._ledger.stages.due.values()):
            if staged.id in self._waiting:
                continue
            stage = staged.current
            if stage is None:
                continue
            if staged.expires_at is not None and staged.expires_at <= now:
                self._refuse(staged, EXPIRED.code, EXPIRED.details, EXPIRED.state)
            elif stage.number > 1 or staged.not_before is None or staged.not_before <= now:
                self._asked[self._questions.ask(stage.plan.selectors)] = staged
                self._waiting.add(staged.id)
            else:
                self._due_at = min(self._due_at, staged.not_before)
            if staged.expires_at is not None and staged.id in self._ledger.stages.due:
                self._due_at = min(self._due_at, staged.expires_at)

    def _answered(self, staged: StagedRequest, answer: StageAnswer) -> None:
        if staged.id in self._unrecordable:
            self._unrecordable.discard(staged.id)
            self._refuse(staged, *_FAULT)
            return
        try:
            self._begin(staged, answer)
        except Exception as error:
            # Half of it is in the unit of work, so the turn has to fail; repeated, it refuses this stage.
            if not is_of_the_journal(error):
                _log.exception(
                    "request %s: a stage cannot begin and is refused",
                    staged.request_id,
                    extra={"action": "bug", "request_id": staged.request_id},
                )
                self._unrecordable.add(staged.id)
            raise

    def _begin(self, staged: StagedRequest, answer: StageAnswer) -> None:
        try:
            decision = self._decide(staged, answer)
        except RefusedDecision as refusal:
            if refusal.code != "all_denied":
                self._refuse(staged, refusal.code, refusal.details)
                return
            decision = refusal.decision
        except RequestError as error:
            self._refuse(staged, error.code, error.details)
            return
        stage, (ready, denied, left_out) = staged.current, self._ledger.stages.begin(staged, decision)
        self._ledger.starts.denied(denied)
        self._leave_out(left_out, decision)
        self._gates.let_through(ready)
        self._pending.enter(ready)
        if stage is not None and not stage.goes_on:
            self._ledger.starts.end_stage_if_over(staged)

    def _decide(self, staged: StagedRequest, answer: StageAnswer) -> Decision:
        if isinstance(answer, RequestError):
            raise answer
        stage = staged.current
        number = stage.number if stage is not None else 0
        starts = list(staged.starts())
        return decisions.decide_stage(
            staged.request,
            number,
            without_refusals(answer),
            taken={start.task.id for start in starts if start.state is not StartState.WAITING},
            others={start.task.id for start in starts if start.stage is not stage},
            allow=self._gates.allow,
            max_tasks=self._max_tasks,
            own=self._gates.own(staged.identity),
        )

    def _leave_out(self, starts: list[OpenStart], decision: Decision) -> None:
        """Do not start what the stage named when the request was decided, and does not any more."""
        gone = {one.value for one in decision.not_found if one.kind is SelectorKind.TASK_ID}
        for start in starts:
            if start.task.id in gone:
                details = "the Qlik server has no such task any more"
                self._ledger.starts.dropped([start], "task_not_found", details, StartState.NOT_STARTED)
            else:
                details = "when its stage began, no selector of that meant the task any more"
                self._ledger.starts.dropped([start], "not_started", details, StartState.NOT_STARTED)

    def _refuse(
        self, staged: StagedRequest, code: str, details: str, state: StartState = StartState.NOT_STARTED
    ) -> None:
        """Begin a stage of which nothing can be started."""
        starts = self._ledger.stages.refused(staged)
        if starts:
            self._ledger.starts.dropped(starts, code, details, state)
        else:
            self._ledger.starts.end_stage_if_over(staged)
