"""Executions: they are triggered, wait for an engine, run, are repeated, are stopped, and end."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence

from butler_mqtt.simulator.collection import Collection, Entity
from butler_mqtt.simulator.definitions import NodeDefinition, derived_id
from butler_mqtt.simulator.results import Result, Session
from butler_mqtt.simulator.server_clock import Agenda, Clock, Timer
from butler_mqtt.simulator.switches import Switches
from butler_mqtt.simulator.tasks import SimulatedTask

#: Between the states of an abort and before a retry, in seconds (times `durationFactor`).
ABORT_STEP_SECONDS = 0.1
RETRY_PAUSE_SECONDS = 0.2

_TASK_PATHS = (("reloadTask", "id"), ("userSyncTask", "id"), ("externalProgramTask", "id"))

#: Called with every change: 1 added, 2 updated, 3 deleted; entity type; entity; changed properties.
OnChange = Callable[[int, str, Entity, Sequence[str]], None]


class Node:
    """A node with engines."""

    def __init__(self, definition: NodeDefinition) -> None:
        self.id = derived_id("node", definition.name)
        self.definition = definition
        self.used = 0


class SimulatedExecution:
    """One execution, alive until its session ends."""

    def __init__(
        self, execution_id: str, task: SimulatedTask, user: str, result: Result, skew: float
    ) -> None:
        self.id = execution_id
        #: Seconds by which the clock that stamps it is ahead.
        self.skew = skew
        self.task = task
        self.user = user
        self.result = result
        self.session: Session | None = None
        self.node: Node | None = None
        self.retries = 0
        self.aborting = False
        self.ended = False
        self.timer: Timer | None = None


class Executions:
    """All executions of a site."""

    def __init__(
        self,
        clock: Clock,
        agenda: Agenda,
        nodes: Sequence[NodeDefinition],
        switches: Callable[[], Switches],
        on_change: OnChange,
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._switches = switches
        self._on_change = on_change
        self.nodes = [Node(definition) for definition in nodes]
        self._queue: deque[SimulatedExecution] = deque()
        self._started = 0
        self._alive: dict[str, dict[str, SimulatedExecution]] = {}
        self.sessions: Collection[Session] = Collection((("id",), *_TASK_PATHS))
        self.results: Collection[Result] = Collection((("id",), ("executionID",), ("taskID",)))
        self.script_logs: dict[str, Result] = {}

    def alive(self, task: SimulatedTask) -> list[SimulatedExecution]:
        """Return the executions of *task* that have not ended, oldest first."""
        return list(self._alive.get(task.id, {}).values())

    def alive_of_app(self, app_id: str) -> list[SimulatedExecution]:
        """Return the executions of all tasks of an app that have not ended."""
        return [
            one
            for many in self._alive.values()
            for one in many.values()
            if (app := one.task.document.get("app")) is not None and app["id"] == app_id
        ]

    def start(self, task: SimulatedTask, user: str) -> SimulatedExecution:
        """Trigger *task*, whatever state it is in; it runs at once or is queued."""
        skews = self._switches().node_clock_seconds
        skew = skews[self._started % len(skews)]
        self._started += 1
        now = self._clock.stamp(skew)
        execution_id = str(uuid.uuid4())
        execution = SimulatedExecution(
            execution_id, task, user, self._new_result(task, execution_id, now), skew
        )
        if task.kind in self._switches().session_types:
            execution.session = Session(
                execution_id, task, user=user, node_id=self.nodes[0].id, result=execution.result, stamp=now
            )
            self.sessions.add(execution.session)
            self._on_change(1, "ExecutionSession", execution.session, ())
        self._alive.setdefault(task.id, {})[execution_id] = execution
        execution.result.move(1, now)
        self._place(execution)
        return execution

    def stop(self, execution: SimulatedExecution, reason: int = 1) -> None:
        """Abort *execution* for the `abortReason` *reason*: 1 manual, 2 timeout, 3 deleted task."""
        if execution.ended or execution.aborting:
            return
        execution.aborting = True
        if execution.session is not None:
            execution.session.document["abortReason"] = reason
        self._move(execution, 4)
        self._then(execution, ABORT_STEP_SECONDS, lambda: self._abort(execution))

    def _abort(self, execution: SimulatedExecution) -> None:
        self._move(execution, 5)
        self._then(execution, ABORT_STEP_SECONDS, lambda: self._end(execution, 6))

    def dispatch(self) -> None:
        """Assign free engines to executions that are queued."""
        for _ in range(len(self._queue)):
            execution = self._queue.popleft()
            if execution.ended or execution.aborting:
                continue
            node = self._free_node()
            if node is None:
                self._queue.appendleft(execution)
                return
            self._run(execution, node)

    def _new_result(self, task: SimulatedTask, execution_id: str, now: str) -> Result:
        node = self.nodes[0]
        result = Result(task, execution_id, node.id, node.definition.host_name, now)
        self.results.add(result)
        self.script_logs[result.file_reference] = result
        while len(self.results) > self._switches().results_kept and (oldest := self.results.oldest()):
            self.results.remove(oldest.id)
            self.script_logs.pop(oldest.file_reference, None)
        task.show(result.summary)
        self._on_change(1, "ExecutionResult", result, ())
        return result

    def _place(self, execution: SimulatedExecution) -> None:
        if execution.task.kind in (1, 2):
            # External programs and user synchronisations need no engine.
            self._begin(execution)
        elif (node := self._free_node()) is not None:
            self._run(execution, node)
        else:
            self._queue.append(execution)
            self._move(execution, 13 if execution.task.kind == 3 else 3)
            minutes = self._switches().engine_timeout_minutes
            if minutes:
                self._then(execution, minutes * 60, lambda: self.stop(execution, 2))

    def _free_node(self) -> Node | None:
        limit = self._switches().max_concurrent_engines
        free = [
            node
            for node in self.nodes
            if node.used < (node.definition.max_concurrent_engines if limit is None else limit)
        ]
        return min(free, key=lambda node: node.used, default=None)

    def _run(self, execution: SimulatedExecution, node: Node) -> None:
        node.used += 1
        execution.node = node
        now = self._clock.stamp(execution.skew)
        execution.result.update(now, executingNodeName=node.definition.host_name)
        execution.result.document["executingNodeID"] = node.id
        if execution.session is not None:
            execution.session.document["executingNode"]["id"] = node.id
        self._begin(execution)

    def _begin(self, execution: SimulatedExecution) -> None:
        execution.result.begin(self._clock.stamp(execution.skew))
        self._move(execution, 14 if execution.task.kind == 3 else 2)
        definition = execution.task.definition
        outcome = execution.task.next_outcome()
        limit = definition.timeout_minutes * 60
        if outcome is None or definition.duration_seconds > limit:
            self._then(execution, limit, lambda: self.stop(execution, 2))
        else:
            self._then(execution, definition.duration_seconds, lambda: self._finish(execution, outcome))

    def _finish(self, execution: SimulatedExecution, outcome: int) -> None:
        retries = execution.task.definition.retries
        if outcome != 8 or execution.retries >= retries:
            self._end(execution, outcome)
            return
        execution.retries += 1
        now = self._clock.stamp(execution.skew)
        if self._switches().retry_results == "several":
            self._end_result(execution.result, 8, now)
            self._on_change(2, "ExecutionResult", execution.result, ("status", "stopTime"))
            execution.result = self._new_result(execution.task, execution.id, now)
            execution.result.move(1, now)
        if execution.session is not None:
            execution.session.document["executionResult"] = execution.result.summary
            execution.session.document["retries"] = execution.retries
        self._move(execution, 10)
        self._then(execution, RETRY_PAUSE_SECONDS, lambda: self._begin(execution))

    def _end(self, execution: SimulatedExecution, status: int) -> None:
        execution.ended = True
        alive = self._alive.get(execution.task.id, {})
        alive.pop(execution.id, None)
        if not alive:
            self._alive.pop(execution.task.id, None)
        if execution.session is not None:
            self.sessions.remove(execution.id)
            self._on_change(3, "ExecutionSession", execution.session, ())
        messages = ["Max retries reached"] if status == 8 and execution.retries else []
        lag = self._switches().result_lag_seconds
        if lag:
            self._agenda.later(lag, lambda: self._conclude(execution, status, messages))
        else:
            self._conclude(execution, status, messages)
        if execution.node is not None:
            execution.node.used -= 1
            execution.node = None
            self.dispatch()

    def _conclude(self, execution: SimulatedExecution, status: int, messages: Sequence[str]) -> None:
        result = execution.result
        self._end_result(result, status, self._clock.stamp(execution.skew), messages)
        result.script_log_from = self._clock.monotonic() + self._switches().script_log_lag_seconds
        execution.task.changed()
        self._on_change(2, "ExecutionResult", result, ("status", "stopTime", "duration", "details"))

    def _end_result(self, result: Result, status: int, stamp: str, messages: Sequence[str] = ()) -> None:
        result.finish(status, stamp, *messages)
        if result.has_script_log:
            result.update(stamp, scriptLogAvailable=self._switches().script_log_available)

    def _move(self, execution: SimulatedExecution, status: int) -> None:
        now = self._clock.stamp(execution.skew)
        execution.result.move(status, now)
        execution.task.changed()
        if execution.session is not None:
            execution.session.document["modifiedDate"] = now
            execution.session.changed()
            self._on_change(2, "ExecutionSession", execution.session, ("executionResult",))
        self._on_change(2, "ExecutionResult", execution.result, ("status", "details"))

    def _then(self, execution: SimulatedExecution, seconds: float, action: Callable[[], None]) -> None:
        """Go on in *seconds*, unless the execution is sent another way until then."""
        if execution.timer is not None:
            execution.timer.cancel()
        execution.timer = self._agenda.later(seconds * self._switches().duration_factor, action)
