"""
Nothing starts that both gates do not allow, whatever happens in whatever order.

Senders ask through both doors, with every selector, with stages, with times to
come; both gates change while requests wait, are in hand or in doubt; the daemon
is killed and started again with another configuration. Each POST is compared
with the gates as they are then, for every request that it serves.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy import select

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import reading_engine
from butler_mqtt.settings import MqttSettings, Sender, Settings, StartTask, StartTaskFilter
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import cut_before_effect, guid

IDS = [guid(number, 0xAAAA) for number in (1, 2, 3)]
#: Each task by every property that a gate may name.
TASKS = [("Sales", ("a",), ()), ("Stock", ("a", "b"), (("group", "x"),)), ("Staff", (), (("group", "y"),))]
SELECTORS: list[dict[str, Any]] = [
    {"taskId": IDS[0]},
    {"taskId": IDS},
    {"taskName": ["Stock", "Staff"]},
    {"tag": "a"},
    {"customProperty": [{"name": "group", "value": "x"}, {"name": "group", "value": "y"}]},
    {"tag": "b", "taskId": IDS[2], "allMustExist": True},
]
FILTERS = st.builds(
    StartTaskFilter,
    enable=st.just(True),
    task_ids=st.frozensets(st.sampled_from(IDS), max_size=2),
    tags=st.lists(st.sampled_from("ab"), max_size=1).map(tuple),
    custom_properties=st.lists(st.sampled_from([("group", "x"), ("group", "y")]), max_size=1).map(tuple),
)
SITE_FILTERS = st.one_of(st.just(StartTaskFilter()), FILTERS)
OWN_FILTERS = st.one_of(st.none(), FILTERS)
GATES = st.tuples(SITE_FILTERS, OWN_FILTERS, OWN_FILTERS, st.sampled_from(["allow", "allow", "deny"]))
#: Where requests come from, and whose they are; nobody's where that is not configured.
PLACES = {"start/one": "one", "start/two": "two", "qliksense/task/start": None, "token": "one"}


def allows(task: Task, gate: StartTaskFilter | None) -> bool:
    """Judge a task again, by other means than the program."""
    if gate is None or not gate.enable:
        return True
    return (
        task.id in gate.task_ids
        or bool(set(task.tags) & set(gate.tags))
        or bool(set(task.custom_properties) & set(gate.custom_properties))
    )


class GatesInAnyOrder(RuleBasedStateMachine):
    """What can happen; what is started is judged at each POST."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.harness = Harness(Path(self.temporary.name))
        self.engine = reading_engine(self.harness.path)
        self.broken: list[str] = []
        for name, tags, properties in TASKS:
            self.harness.site.add(name, tags=tags, custom_properties=properties)
        self.harness.site.on_start = self.is_allowed

    @initialize()
    def begin(self) -> None:
        self.configure(StartTaskFilter(), None, None, "allow")
        self.harness.start()

    def configure(
        self, site: StartTaskFilter, one: StartTaskFilter | None, two: StartTaskFilter | None, unknown: str
    ) -> None:
        senders = (
            Sender("one", "start/one", ("token",), allow_task=one),
            Sender("two", "start/two", allow_task=two),
        )
        self.harness.settings = Settings(
            start_task_filter=site,
            senders=senders,
            unknown_senders=unknown,
            start_task=StartTask(max_concurrent_reloads=1),
            mqtt=MqttSettings(sender_topics=("start/one", "start/two")),
        )

    def is_allowed(self, task: Task) -> None:
        """Judge a POST, for each start that its run serves."""
        known = self.harness.site.tasks[task.id]
        now = self.harness.settings
        own = {sender.name: sender.allow_task for sender in now.senders}
        own["unknown"] = StartTaskFilter(enable=now.unknown_senders == "deny")
        query = (
            select(tables.requests.c.identity)
            .join(tables.starts, tables.starts.c.request == tables.requests.c.id)
            .join(tables.runs, tables.runs.c.id == tables.starts.c.run)
            .where(tables.runs.c.task_id == task.id, tables.runs.c.state == "intended")
            .where(tables.starts.c.state.in_(["planned", "waiting"]))
        )
        with self.engine.connect() as connection:
            served = list(connection.execute(query).scalars())
        if not served or not allows(known, now.start_task_filter):
            self.broken.append(f"{known.name} started for {served} against startTaskFilter")
        self.broken += [
            f"{known.name} started for {identity}" for identity in served if not allows(known, own[identity])
        ]

    @rule(
        place=st.sampled_from(list(PLACES)),
        wish=st.sampled_from(SELECTORS),
        more=st.sampled_from([None, None, "stages", "notBefore", "dryRun"]),
    )
    def send(self, place: str, wish: dict[str, Any], more: str | None) -> None:
        body = dict(wish)
        if more == "stages":
            body = {"stages": [{"taskId": IDS[0], "onFailure": "continue"}, {"tag": "a"}]}
        elif more is not None:
            body[more] = stamp_ms(now_ms() + 30) if more == "notBefore" else True
        if place == "token":
            self.harness.call(body, principal=place)
        else:
            self.harness.deliver(self.harness.message(body)._replace(topic=place))

    @rule(gates=GATES, killed=st.booleans())
    def change_the_gates(self, gates: tuple[Any, ...], killed: bool) -> None:
        self.harness.post()  # what is in the hands of a worker has left
        self.configure(*gates)
        if killed:
            self.harness.restart()
        else:
            self.harness.pipeline.emit(Reconfigured(self.harness.settings))
            self.harness.turn()

    @rule(
        gates=GATES,
        killed=st.booleans(),
        place=st.sampled_from(list(PLACES)),
        wish=st.sampled_from(SELECTORS),
    )
    def change_the_gates_before_what_waits(
        self, gates: tuple[Any, ...], killed: bool, place: str, wish: dict[str, Any]
    ) -> None:
        for task in IDS:
            self.somebody_starts(task)
        self.send(place, wish, None)
        self.step(3)
        self.change_the_gates(gates, killed)
        self.everything_ends()
        self.step(3)

    @rule(fault=st.sampled_from([QlikUnavailable("connection refused"), cut_before_effect]))
    def next_start(self, fault: Any) -> None:
        self.harness.site.script.append(fault)

    @rule(task=st.sampled_from(IDS))
    def somebody_starts(self, task: str) -> None:
        if not self.harness.site.running(task):
            self.harness.site.begin(task)

    @rule()
    def everything_ends(self) -> None:
        for task in IDS:
            if self.harness.site.running(task):
                self.harness.site.end(task)

    @rule(steps=st.integers(1, 4))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.harness.step()
            self.harness.site.pass_time(2)

    def teardown(self) -> None:
        try:
            if self.harness.generation:
                self.harness.site.script.clear()
                self.harness.until(self.is_over)
                assert not self.broken
                assert {row["state"] for row in self.harness.rows(tables.requests)} <= {"closed", "refused"}
        finally:
            if self.harness.generation:
                self.harness.crash()
            self.temporary.cleanup()

    def is_over(self) -> bool:
        self.everything_ends()
        self.harness.site.pass_time(1)
        going_on = {"planned", "waiting", "running"}
        states = {row["state"] for row in self.harness.rows(tables.starts)}
        return not self.harness.open_rows() and not states & going_on


# Each example is a pipeline on a journal file.
GatesInAnyOrder.TestCase.settings = settings(
    max_examples=settings().max_examples // 5, stateful_step_count=25
)
TestGatesInAnyOrder: Any = GatesInAnyOrder.TestCase
