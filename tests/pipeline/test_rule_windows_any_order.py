"""Coalescing against a model: messages, time, kills, redeliveries, failing commits, reloads in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.domain.model import Message
from butler_mqtt.journal import tables
from butler_mqtt.settings import Coalesce, Settings
from tests.pipeline import rule_harness
from tests.pipeline.rule_harness import TASK, RuleHarness

#: The windows of the two texts that the rule may have.
TEXTS = (Coalesce(10, 25, "payload.key"), Coalesce(4, 40, "payload.key"))
#: Where the commit of a step fails.
FAULTS = st.sampled_from([None, None, "before", "after"])


def orders(text: int) -> Settings:
    start = {"taskId": TASK, "requestId": "${{ payload.key }}:${{ payload.n }}:${{ count }}"}
    made = rule_harness.rule("orders", payload="json", start=start, coalesce=TEXTS[text])
    return Settings(rules=(made,))


class Coalescing(RuleBasedStateMachine):
    """One rule with a key; the model has the same windows as plain values."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="windows-"))
        self.harness = RuleHarness(self.folder, orders(0))
        self.harness.site.add("Orders")
        self.harness.start()
        self.harness.turn()
        self.text = 0
        self.number = 0
        #: By key: when the first and the last message came, how many, the last one's number, and the text.
        self.windows: dict[str, tuple[float, float, int, int, int]] = {}
        self.expected: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
        self.last: Message | None = None

    def end(self, key: str) -> None:
        _, _, count, number, _ = self.windows.pop(key)
        self.expected[key].append((number, count))

    def end_due(self) -> None:
        now = self.harness.window_clock.now
        for key, (first, last, _, _, text) in list(self.windows.items()):
            coalesce = TEXTS[text]
            if min(last + coalesce.quiet_seconds, first + coalesce.max_seconds) <= now:
                self.end(key)

    def a_commit_fails(self, where: str | None) -> None:
        if where is not None:
            self.harness.journal.fail(where)

    @rule(key=st.sampled_from(["a", "b"]), fault=FAULTS)
    def a_message_comes(self, key: str, fault: str | None) -> None:
        self.number += 1
        self.a_commit_fails(fault)
        self.last = self.harness.published("erp/orders", {"key": key, "n": self.number})
        self.harness.turn()
        if key in self.windows and self.windows[key][4] != self.text:
            self.end(key)
        now = self.harness.window_clock.now
        first, _, count, _, _ = self.windows.get(key, (now, now, 0, 0, 0))
        self.windows[key] = (first, now, count + 1, self.number, self.text)

    @rule(seconds=st.sampled_from([1, 3, 5, 9, 12]), fault=FAULTS)
    def time_passes(self, seconds: float, fault: str | None) -> None:
        self.a_commit_fails(fault)
        self.harness.window_clock.now += seconds
        self.harness.turn()
        self.end_due()

    @rule(seconds=st.sampled_from([0, 6, 30]))
    def it_is_killed(self, seconds: float) -> None:
        self.harness.crash()
        self.harness.window_clock.now += seconds
        self.harness.start()
        self.harness.turn()
        self.end_due()

    @rule()
    def the_last_message_is_delivered_again(self) -> None:
        if self.last is not None:
            self.harness.connect(present=True)
            self.harness.bring_again(self.last)
            self.harness.turn()

    @rule(text=st.sampled_from([0, 1]))
    def the_rule_is_changed(self, text: int) -> None:
        self.text = text
        self.harness.settings = orders(text)
        self.harness.pipeline.emit(Reconfigured(self.harness.settings))
        self.harness.turn()

    @invariant()
    def each_window_became_one_request(self) -> None:
        made: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
        for row in self.harness.rows(tables.requests):
            key, number, count = row["request_id"].split(":")
            made[key].append((int(number), int(count)))
        assert made == self.expected
        rows = {row["key"]: row["count"] for row in self.harness.rows(tables.rule_windows)}
        assert rows == {key: count for key, (_, _, count, _, _) in self.windows.items()}

    def teardown(self) -> None:
        self.harness.pipeline.close()
        shutil.rmtree(self.folder)


Coalescing.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCoalescing = Coalescing.TestCase
