"""The core of the daemon with rules: their broker, and the clock of windows, under a test's control."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from butler_mqtt.clock import now_ms
from butler_mqtt.contract import topics
from butler_mqtt.domain.completions import Completion, RuleAcknowledgementsRead, RuleSessionBegan
from butler_mqtt.domain.model import Arrival, Message, WebhookCall
from butler_mqtt.journal import tables
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.pipeline.rule_windows import WindowClock
from butler_mqtt.settings import RuleSettings
from tests.pipeline.faulty_journal import FaultyJournal
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import guid

#: The first task that a test adds.
TASK = guid(1, 0xAAAA)


def rule(name: str = "orders", *filters: str, **fields: Any) -> RuleSettings:
    """Make a rule that starts `TASK` for each message, on `erp/<name>` if nothing else is said."""
    fields.setdefault("start", {"taskId": TASK})
    fields.setdefault("payload", "text")
    return RuleSettings(name, topics=filters or (f"erp/{name}",), **fields)


class TestClock(WindowClock):
    """A clock of windows that stands until a test moves it, and goes on through crashes."""

    __test__ = False

    def __init__(self) -> None:
        self.now = 1000.0

    def seconds(self) -> float:
        return self.now

    def moment(self) -> int:
        return round(self.now * 1000)

    def age(self, moment: int, at: int) -> float:  # noqa: ARG002 -- the signature of the real one
        return self.now - moment / 1000


class RuleBroker:
    """The rules' connection: what it acknowledges, and the filters it is told."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[int, int]] = []
        self.wanted: Mapping[int, str] = {}
        self.unwanted: Mapping[int, str] = {}
        self.emit: Callable[[Completion], None] = lambda _event: None
        self.generation = 0
        self.count = 0

    def acknowledge(self, packet_id: int, generation: int) -> None:
        self.acknowledged.append((packet_id, generation))
        if generation == self.generation:
            self.count += 1

    def read(self) -> None:
        """Prove that all acknowledgements of this connection were read."""
        self.emit(RuleAcknowledgementsRead(self.generation, self.count))

    def subscribe(self, wanted: Mapping[int, str], unwanted: Mapping[int, str]) -> None:
        self.wanted, self.unwanted = wanted, unwanted


@dataclass
class RuleHarness(Harness):
    """A `Harness` with the connection of rules."""

    rule_broker: RuleBroker = field(default_factory=RuleBroker)
    window_clock: TestClock = field(default_factory=TestClock)

    def start(self, *, session_present: bool | None = None) -> None:
        present = self.generation > 0 if session_present is None else session_present
        self.journal = FaultyJournal(f"sqlite:///{self.path}")
        self.pipeline = Pipeline(
            self.settings,
            self.journal,
            publish=self.broker.publish,
            server_time=self.site.server_time,
            qlik_timings=self.qlik_timings,
            refusals=self.refusals,
            timings=self.timings,
            in_memory=self.in_memory,
            window_clock=self.window_clock,
            counting=self.metrics,
        )
        self.pipeline.open(self.broker, self.rule_broker)
        self.broker.emit = self.rule_broker.emit = self.pipeline.emit
        self.connect(present=present)

    def connect(self, *, present: bool) -> None:
        super().connect(present=present)
        self.rule_broker.generation, self.rule_broker.count = self.generation, 0
        self.pipeline.emit(RuleSessionBegan(self.generation, present))

    # ---- what arrives

    def brought(self, topic: str) -> tuple[int, ...]:
        """Return the identifiers of the filters that match *topic*."""
        wanted = self.rule_broker.wanted
        return tuple(row for row in sorted(wanted) if topics.matches(wanted[row], topic))

    def published(self, topic: str, body: object, packet_id: int | None = None, **fields: Any) -> Message:
        """Let the broker bring one copy of a message with all its identifiers."""
        message = self.message(body, packet_id, **fields)
        fields.setdefault("filters", self.brought(topic))
        message = message._replace(topic=topic, **fields)
        self.bring(message)
        return message

    def bring(self, message: Message) -> None:
        """Let a message for rules arrive, on the connection of now."""
        message = message._replace(generation=self.generation)
        self.pipeline.emit(Arrival("rule", message.payload, now_ms(), message))

    def bring_again(self, message: Message) -> None:
        """Let the broker deliver a message again."""
        self.bring(message._replace(dup=True))

    def webhook(self, name: str, body: object, **fields: Any) -> list[dict[str, Any]]:
        """Call the webhook of a rule; the list given gets the answer."""
        answers: list[dict[str, Any]] = []
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields.setdefault("request_id", f"call-{next(self._packet_ids)}")
        self.pipeline.emit(
            Arrival(
                "rule",
                payload,
                now_ms(),
                on_reply=lambda reply: answers.append(json.loads(reply)),
                webhook=WebhookCall(name),
                **fields,
            )
        )
        return answers

    # ---- what a test reads

    def counts(self, name: str = "orders") -> dict[str, int]:
        """Return what became of the messages of a rule, without zeros."""
        outcomes = ("started", "unmatched", "coalesced", "failed", "error")
        row = next((one for one in self.rows(tables.rule_counts) if one["rule"] == name), None)
        return {} if row is None else {one: row[one] for one in outcomes if row[one]}
