"""Runs: one POST to the server, from the intent to the end of the execution it led to."""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.clock import moment, now_ms, to_ms
from butler_mqtt.contract import task_events
from butler_mqtt.domain.model import Execution
from butler_mqtt.domain.open_work import OpenStart, Run, Watch
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RunState, StartState, move
from butler_mqtt.journal import tables
from butler_mqtt.ledger.events import Events
from butler_mqtt.ledger.incident_log import Incidents
from butler_mqtt.ledger.notes import Notes
from butler_mqtt.ledger.starts import Starts
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: How the line about an execution names an end that is not a success.
_NOT_WELL = {
    StartState.FAILED: "failed",
    StartState.ABORTED: "was aborted",
    StartState.SKIPPED_BY_QLIK: "was skipped by Qlik Sense",
    StartState.UNKNOWN: "is not shown any more, its end is unknown",
}


class Runs:
    """
    Changes the states of runs, and with them those of the starts they serve.

    All methods raise RuntimeError for a change that `domain.states` does not allow.
    """

    def __init__(
        self, turn: UnitOfWork, starts: Starts, events: Events, notes: Notes, incidents: Incidents
    ) -> None:
        self._turn = turn
        self._starts = starts
        self._events = events
        self._notes = notes
        self._incidents = incidents

    def intended(self, starts: Sequence[OpenStart], baseline: Baseline, since: float) -> Run:
        """Record that the task of *starts* is about to be started by one POST at *since* (monotonic)."""
        identity = self._turn.new_id(tables.runs)
        task = starts[0].task
        state = move(None, RunState.INTENDED, identity)
        run = Run(identity, task, list(starts), state, baseline, now_ms(), since)
        self._turn.unit.insert(
            tables.runs,
            {
                "id": identity,
                "task_id": task.id,
                "task_type": task.task_type,
                "state": run.state,
                "intended_at": run.intended_at,
                "attempts": 1,
                "baseline_result": baseline.result_id,
                "baseline_began": to_ms(baseline.began),
                "server_date": to_ms(baseline.server_date),
            },
        )
        self._turn.alerting.intended(task)
        for start in starts:
            start.run = identity
            self._turn.unit.update(tables.starts, start.id, run=identity)
        return run

    def again(self, run: Run, *, renewed: bool = False) -> None:
        """Record that a run whose POST began nothing is to be posted once more; *renewed*: as if new."""
        if renewed:
            run.intended_at = now_ms()
        self._notes.of_run(run, "postedAgain", "nothing had begun, so that the start is asked of Qlik again")
        self._move(run, RunState.INTENDED)
        run.attempts += 1
        run.nothing_since = None
        self._turn.unit.update(
            tables.runs,
            run.id,
            attempts=run.attempts,
            nothing_at=None,
            baseline_result=run.baseline.result_id,
            baseline_began=to_ms(run.baseline.began),
            server_date=to_ms(run.baseline.server_date),
            intended_at=run.intended_at,
        )

    def found_nothing(self, run: Run) -> None:
        """Record that the server showed nothing of a run, for the first time."""
        self._turn.unit.update(tables.runs, run.id, nothing_at=moment())

    def posted(self, run: Run, details: str) -> None:
        """Record that a POST left and its outcome is not known yet, because of *details*."""
        if run.state is not RunState.POSTED:
            self._move(run, RunState.POSTED)
        self._turn.unit.update(tables.runs, run.id, details=details)
        self._notes.of_run(run, "inDoubt", f"the outcome was in doubt: {details}")

    def executing(self, run: Run, execution_id: str | None, *, adopted: bool = False) -> None:
        """
        Record that the server began an execution.

        Without an id (kinds of tasks that have none) it cannot be tracked, so
        the run ends here.
        """
        self._move(run, RunState.EXECUTING)
        if execution_id is None:
            self._move(run, RunState.ENDED)
        self._turn.unit.update(
            tables.runs, run.id, execution_id=execution_id, answered_at=now_ms(), events="started"
        )
        self._events.publish("started", run.task, run.starts, execution_id)
        self._starts.running(run.starts, run.id, execution_id, adopted=adopted)

    def began_nothing(self, run: Run) -> None:
        """Record that a run began nothing because the task ran already; the caller moves its starts."""
        self._move(run, RunState.NONE)
        self._turn.unit.update(tables.runs, run.id, answered_at=now_ms())

    def not_started(
        self, run: Run, code: str, details: str, state: StartState = StartState.NOT_STARTED
    ) -> None:
        """Record that the run began nothing, and why."""
        self.began_nothing(run)
        self._turn.unit.update(tables.runs, run.id, details=details)
        self._starts.dropped(run.starts, code, details, state)

    def unknown(self, run: Run, details: str) -> None:
        """Record that the outcome of the run cannot be known; it is not repeated."""
        self._move(run, RunState.UNKNOWN)
        self._turn.unit.update(tables.runs, run.id, answered_at=now_ms(), details=details)
        self._events.publish("unknown", run.task, run.starts, code="outcome_unknown", message=details)
        self._starts.move(run.starts, StartState.UNKNOWN, "outcome_unknown", details)

    def progressed(self, watch: Watch, kind: str) -> None:
        """Publish, once, that an execution runs or is retried."""
        if kind in watch.published:
            return
        watch.published.add(kind)
        if watch.run is not None:
            self._turn.unit.update(tables.runs, watch.run, events=",".join(sorted(watch.published)))
            self._events.publish(kind, watch.task, watch.starts, watch.execution_id)

    def ended(self, watch: Watch, execution: Execution | None, script_log: Sequence[str]) -> None:
        """Record how an execution ended; None when the server does not show it any more."""
        if watch.run is None:
            return
        state, kind = task_events.end_of(execution)
        self._turn.unit.update(
            tables.runs,
            watch.run,
            state=move(RunState.EXECUTING, RunState.ENDED, watch.run),
            events=",".join(sorted({*watch.published, kind})),
            result=state,
            ended_at=now_ms(),
        )
        if execution is not None:
            self._turn.unit.update(
                tables.runs,
                watch.run,
                node=execution.node,
                started_at=to_ms(execution.started),
                stopped_at=to_ms(execution.stopped),
                duration_ms=execution.duration_ms,
                message=execution.message,
            )
        if script_log:
            self._notes.script_log(watch.run, script_log)
        self._turn.count(self._turn.counting.ended, state.value)
        published = task_events.outcome(execution, abort_reason=watch.abort_reason)
        self._events.publish(
            kind, watch.task, watch.starts, watch.execution_id, **published, scriptLog=list(script_log)
        )
        reason = ": ".join(str(published[name]) for name in ("reason", "message") if published.get(name))
        if state in _NOT_WELL:
            self._incidents.execution_failed(watch, _NOT_WELL[state], reason)
        self._turn.alerting.execution_ended(watch, execution, state, reason, script_log)
        for start in watch.starts:
            start.outcome = execution if start.owner is not None else None
        if state is StartState.UNKNOWN:
            details = "the server does not show how the execution ended: see the task in the QMC"
            self._starts.move(watch.starts, state, "outcome_unknown", details)
        else:
            self._starts.move(watch.starts, state)

    def _move(self, run: Run, state: RunState) -> None:
        run.state = move(run.state, state, run.id)
        self._turn.unit.update(tables.runs, run.id, state=state)
