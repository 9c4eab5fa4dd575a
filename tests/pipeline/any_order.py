"""What can happen to a daemon in any order, for property tests that each check something of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from butler_mqtt.domain.model import Message
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, Site, cut_after_effect, cut_before_effect, killed_after_effect

#: What may become of the next start.
FAULTS = st.sampled_from(
    [cut_after_effect, cut_before_effect, killed_after_effect, QlikUnavailable("connection refused")]
)
#: What starts may still be in.
GOING_ON = {"planned", "waiting", "running"}


class AnythingHappens(RuleBasedStateMachine):
    """
    A daemon with its server and its broker, of which anything may fail at any instant.

    Tests add what is asked of it, and what must be so at every instant (into
    `broken`) and in the end (`all_is_well`). The broker delivers again whatever
    was not acknowledged on the present connection.

    Args:
        site: The server; `tasks` are the ids of its tasks.
        configuration: Of the daemon.
        parts: Further fields of `Harness`.
    """

    def __init__(self, site: Site, configuration: Settings | None = None, **parts: Any) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.site = site
        self.harness = Harness(Path(self.temporary.name), configuration or Settings(), site=site, **parts)
        #: Messages the broker holds for the daemon, by packet id.
        self.held: dict[int, Message] = {}
        #: What went against a promise at the instant it did.
        self.broken: list[str] = []

    @property
    def tasks(self) -> list[str]:
        return list(self.site.tasks)

    # ---- the broker

    def publish(self, body: dict[str, Any], name: str, **fields: Any) -> Message:
        """Let the broker hold a request and deliver it; *name* is its correlation data."""
        message = self.harness.message(body, correlation=name.encode(), **fields)
        self.held[message.packet_id] = message
        self.harness.deliver(message)
        return message

    def taken_back(self) -> None:
        """Forget what was acknowledged in time; what was sent on an older connection is not."""
        for packet_id, generation in self.harness.broker.acknowledged:
            if generation == self.harness.generation:
                self.held.pop(packet_id, None)
        self.harness.broker.acknowledged.clear()

    def redeliver(self) -> None:
        for packet_id, message in self.held.items():
            self.harness.send(
                json.loads(message.payload),
                packet_id=packet_id,
                dup=True,
                correlation=message.correlation,
                expiry_seconds=message.expiry_seconds,
            )

    @rule()
    def confirm(self) -> None:
        self.harness.broker.confirm()

    # ---- the server

    @rule(fault=FAULTS)
    def next_start(self, fault: Any) -> None:
        self.site.script.append(fault)

    @rule(seconds=st.sampled_from([0.001, 0.3, 0.9, 1.1, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.site.pass_time(seconds)

    @rule(data=st.data(), status=st.sampled_from([7, 7, 7, 8, 6]))
    def execution_ends(self, data: st.DataObject, status: int) -> None:
        self.end(data.draw(st.sampled_from(self.tasks)), status)

    @rule(data=st.data())
    def somebody_starts(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(self.tasks))
        if self.site.running(task_id) is None:
            self.site.begin(task_id)

    @rule(data=st.data())
    def somebody_is_faster(self, data: st.DataObject) -> None:
        """An execution ends and another begins between two polls."""
        self.end(data.draw(st.sampled_from(self.tasks)))
        self.somebody_starts(data)

    def end(self, task_id: str, status: int = 7) -> None:
        """End what runs of a task, if anything does."""
        if self.site.running(task_id) is not None:
            self.site.end(task_id, status)

    # ---- the daemon

    @rule(where=st.sampled_from(["before", "after", "reading"]), error=st.sampled_from([None, None, Crash()]))
    @precondition(lambda self: not self.harness.journal.faults)
    def journal_fails(self, where: str, error: BaseException | None) -> None:
        self.harness.journal.fail(where, error)

    @rule()
    def crash(self) -> None:
        self.taken_back()
        self.harness.restart()
        self.redeliver()

    @rule()
    def turn(self) -> None:
        self.survive(self.harness.turn)

    @rule()
    def find(self) -> None:
        self.survive(self.harness.find)

    @rule()
    def post(self) -> None:
        self.survive(self.harness.post)

    @rule()
    def snapshot(self) -> None:
        self.survive(self.harness.snapshot)

    @rule()
    def follow(self) -> None:
        self.survive(self.harness.follow)

    @rule()
    def step(self) -> None:
        self.survive(self.harness.step)

    def survive(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Crash:
            self.crash()

    # ---- when everything is well again

    def teardown(self) -> None:
        try:
            if self.harness.generation:
                self.faults_end()
                self.all_is_well()
        finally:
            if self.harness.generation:
                self.harness.crash()
            self.temporary.cleanup()

    def faults_end(self) -> None:
        """Let nothing fail any more."""
        site = self.site
        for faults in (site.script, site.stop_script, site.resolve_errors, site.snapshot_errors):
            faults.clear()
        self.harness.journal.faults.clear()

    def all_is_well(self) -> None:
        """Check what must be so in the end."""
        raise NotImplementedError

    def settle(self, over: Callable[[], bool], seconds: float = 1) -> None:
        """Step until all is *over*, the server's time going on by so many *seconds* each time."""
        for _ in range(3000):
            self.harness.step()
            self.harness.broker.confirm()
            self.site.pass_time(seconds)
            for task_id in self.tasks:
                self.end(task_id)
            if over():
                return
        raise AssertionError(f"still open: {self.what_is_open()}")

    def what_is_open(self) -> list[Any]:
        """Return the rows of requests, starts, deliveries and messages that are not over."""
        starts = [row for row in self.harness.rows(tables.starts) if row["state"] in GOING_ON]
        deliveries = [row for row in self.harness.rows(tables.deliveries) if row["answered_at"] is None]
        return [*self.harness.open_rows(), *starts, *deliveries, *self.harness.rows(tables.outbox)]
