"""A Qlik site: its tasks, tags, custom properties, executions, and the rules of starting."""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.simulator.call_log import CallLog, CallRecord, StartLedger
from butler_mqtt.simulator.collection import Collection
from butler_mqtt.simulator.definitions import SiteDefinition, TaskDefinition, derived_id
from butler_mqtt.simulator.executions import Executions, SimulatedExecution
from butler_mqtt.simulator.filter_matching import Dialect
from butler_mqtt.simulator.notifications import Changes
from butler_mqtt.simulator.server_clock import Agenda, Clock
from butler_mqtt.simulator.switches import Switches
from butler_mqtt.simulator.tasks import (
    EMPTY_GUID,
    CustomPropertyDefinition,
    SimulatedTask,
    Tag,
    custom_property_definition,
    tag,
)

#: The other user that starts and stops tasks when the admin endpoint gets no name.
FOREIGN_USER = "LAB\\someone"


class Site:
    """
    Everything behind the endpoints; all of it belongs to one thread.

    Args:
        definition: What is there at the beginning and again after `reset`.
        ledger: Takes one line per execution that begins.
    """

    def __init__(
        self,
        definition: SiteDefinition,
        *,
        clock: Clock | None = None,
        ledger: StartLedger | None = None,
        switches: Switches | None = None,
    ) -> None:
        self.definition = definition
        self.clock = clock or Clock()
        self.agenda = Agenda(self.clock)
        self.calls = CallLog()
        self._ledger = ledger or StartLedger(None)
        self._first_switches = switches or Switches()
        self._populate()

    def _populate(self) -> None:
        self._take(self._first_switches)
        self.tasks: Collection[SimulatedTask] = Collection(
            (("id",), ("name",), ("tags", "name"), ("customProperties", "value"))
        )
        self.tags: Collection[Tag] = Collection()
        self.properties: Collection[CustomPropertyDefinition] = Collection()
        self._known_properties: frozenset[str] = frozenset()
        self.changes = Changes(self.clock, lambda: self.switches)
        self.executions = Executions(
            self.clock, self.agenda, self.definition.nodes, lambda: self.switches, self.changes.record
        )
        for name in self.definition.tags:
            self.tags.add(tag(name, self.clock.stamp()))
        for name, choices in self.definition.custom_properties.items():
            self._define(name, choices)
        for task in self.definition.tasks:
            self._define_all(task)
        for task in self.definition.tasks:
            self.put_task(task)
        self.changes.clear()

    def set_switches(self, switches: Switches) -> None:
        """Put all switches into new positions."""
        self._take(switches)
        # There may be more engines now.
        self.executions.dispatch()

    def _take(self, switches: Switches) -> None:
        self.switches = switches
        self.clock.offset_seconds = switches.clock_offset_seconds
        self.clock.date_age_seconds = switches.date_age_seconds
        self.clock.keep_date(switches.date_header)

    def dialect(self) -> Dialect:
        """Return the filter dialect that the switches select."""
        return Dialect(
            same_object=self.switches.pairing == "sameObject",
            doubled_quotes=self.switches.doubled_quote != "refused",
            backslashes=self.switches.doubled_quote != "only",
            quoted_guids=self.switches.quoted_guid == "accepted",
            known_properties=(
                self._known_properties if self.switches.property_shorthand == "accepted" else None
            ),
        )

    def reset(self) -> None:
        """Go back to the beginning: tasks, switches, executions, calls."""
        self.agenda.clear()
        self.changes.lose_subscriptions()
        self.calls = CallLog()
        self._populate()

    # -- tasks

    def put_task(self, definition: TaskDefinition) -> SimulatedTask:
        """Add a task, or replace the one with its id; what runs goes on."""
        now = self.clock.stamp()
        self._define_all(definition)
        choices = {
            name: found.document["choiceValues"]
            for name in dict(definition.custom_properties)
            if (found := self.properties.get(derived_id("customProperty", name)))
        }
        for name in definition.tags:
            if self.tags.get(derived_id("tag", name)) is None:
                self.tags.add(tag(name, now))
        task = SimulatedTask(definition, now, choices)
        before = self.tasks.get(task.id)
        if before is not None:
            task.show(before.last)
            task.attempts = before.attempts
        self.tasks.add(task)
        self.changes.record(1 if before is None else 2, task.schema_path, task, ())
        return task

    def delete_task(self, task: SimulatedTask) -> None:
        """Delete a task; what runs of it is aborted."""
        self.tasks.remove(task.id)
        for execution in self.executions.alive(task):
            self.executions.stop(execution, 3)
        self.changes.record(3, task.schema_path, task, ())

    def _define_all(self, definition: TaskDefinition) -> None:
        for name, value in definition.custom_properties:
            self._define(name, [value])

    def _define(self, name: str, choices: Sequence[str]) -> None:
        found = self.properties.get(derived_id("customProperty", name))
        if found is None:
            self.properties.add(custom_property_definition(name, list(choices), self.clock.stamp()))
            self._known_properties |= {name.casefold()}
            return
        known: list[str] = found.document["choiceValues"]
        known += [value for value in choices if value not in known]
        found.changed()

    # -- starting and stopping

    def start(self, task: SimulatedTask, user: str, call: CallRecord | None, *, synchronous: bool) -> str:
        """
        Start *task* if it can be, as the QRS does.

        Args:
            task: Which.
            user: Whose session it will be, directory and id joined by a backslash.
            call: The call that asked; None for a start from elsewhere.
            synchronous: Whether an execution id is wanted.

        Returns:
            The id of the execution session, or the empty GUID.
        """
        counts = self.calls.counts(task.id)
        if call is not None:
            counts.requests += 1
        execution_id = self._start(task, user, call, synchronous=synchronous)
        if execution_id == EMPTY_GUID:
            counts.empty += 1
        return execution_id

    def _start(self, task: SimulatedTask, user: str, call: CallRecord | None, *, synchronous: bool) -> str:
        app = task.document.get("app")
        if not task.document["enabled"] or (app is not None and app["availabilityStatus"] != 1):
            return EMPTY_GUID
        if self.switches.scheduler == "absent":
            return EMPTY_GUID
        if synchronous and task.kind not in self.switches.session_types:
            # Without a session there is no id to return: a synchronous start refuses these types.
            return EMPTY_GUID
        alive = self.executions.alive(task)
        if alive and self.switches.already_running != "second":
            return alive[0].id if self.switches.already_running == "same" else EMPTY_GUID
        if (
            not alive
            and app
            and self.switches.same_app == "empty"
            and self.executions.alive_of_app(app["id"])
        ):
            return EMPTY_GUID
        execution = self.executions.start(task, user)
        self._count(execution, call)
        return execution.id

    def _count(self, execution: SimulatedExecution, call: CallRecord | None) -> None:
        counts = self.calls.counts(execution.task.id)
        counts.executions += 1
        if call is None:
            counts.foreign += 1
        else:
            call.execution_ids += (execution.id,)
        self._ledger.append(
            {
                "time": self.clock.stamp(),
                "taskId": execution.task.id,
                "taskName": execution.task.document["name"],
                "executionId": execution.id,
                "user": execution.user,
                "call": None if call is None else call.index,
                "foreign": call is None,
            }
        )

    def stop(self, task: SimulatedTask) -> int:
        """Abort all that runs of *task*; gives how many executions that were."""
        alive = self.executions.alive(task)
        for execution in alive:
            self.executions.stop(execution)
        return len(alive)
