"""What the messages of one turn come to: requests, refusals, answers to webhooks, counts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.model import Arrival, RuleOrigin
from butler_mqtt.errors import RequestError
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline import rule_judging
from butler_mqtt.pipeline.rule_counts import RuleCounts
from butler_mqtt.pipeline.rule_windows import EndedWindow
from butler_mqtt.repeated_lines import RepeatedLines

if TYPE_CHECKING:
    from butler_mqtt.rules.message import DecodedMessage
    from butler_mqtt.rules.rule import Judgement, Rule

_log = logging.getLogger("butler_mqtt.rules")


class RuleOutcomes:
    """
    Gathers them; `made` and `refused` are recorded by the turn as any arrivals are.

    Args:
        turn: Answers once it is on disk.
        records: Writes the counts.
        warned: Which lines were logged lately.
    """

    def __init__(self, turn: UnitOfWork, records: RuleRecords, warned: RepeatedLines) -> None:
        self._turn = turn
        self._counts = RuleCounts(turn, records)
        self._warned = warned
        self.made: list[Arrival] = []
        self.refused: list[tuple[Arrival, RequestError]] = []

    def load(self, transaction: Transaction) -> None:
        """Read what was counted so far; forget the turn that failed."""
        self.begin()
        self._counts.load(transaction)

    def begin(self) -> None:
        """Forget what came of the last turn."""
        self.made, self.refused = [], []

    def write(self) -> None:
        """Record the counts of this turn."""
        self._counts.write()

    def make(self, rule: Rule, arrival: Arrival, decoded: DecodedMessage) -> None:
        """Make a request of a message that matches."""
        body = rule_judging.rendered(rule, decoded, 1)
        if isinstance(body, RequestError):
            self.fail(rule.name, arrival, body)
            return
        self._counts.count(rule.name, "started")
        self.made.append(
            arrival._replace(payload=body, message=None, origin=rule_judging.origin_of(rule.name, arrival))
        )

    def make_of_window(self, window: EndedWindow) -> None:
        """Make a request of messages that were coalesced."""
        settings, message = window.rule, window.message
        origin = RuleOrigin(settings.name, message.payload, window.topic, window.messages)
        arrival = Arrival("rule", b"", now_ms(), origin=origin, on_behalf_of=window.owner)
        body = rule_judging.rendered_by(settings, message, window.messages)
        if isinstance(body, RequestError):
            self._counts.count(settings.name, "failed", body.details)
            self.refused.append((arrival, body))
            return
        self._counts.count(settings.name, "started")
        self.made.append(arrival._replace(payload=body))

    def fail(self, rule: str, arrival: Arrival, error: RequestError) -> None:
        """Refuse the request that a rule cannot make of a message."""
        self._counts.count(rule, "failed", error.details)
        self.refused.append(
            (arrival._replace(message=None, origin=rule_judging.origin_of(rule, arrival)), error)
        )

    def coalesced(self, rule: str, arrival: Arrival, messages: int, ends_at: int) -> None:
        """Answer a message that waits with others: *messages* in all, until *ends_at* (ms since 1970)."""
        self._counts.count(rule, "coalesced")
        self._answer(
            arrival,
            {
                "matched": True,
                "rule": rule,
                "status": "coalesced",
                "messages": messages,
                "startsAt": stamp_ms(ends_at),
            },
        )

    def unmatched(self, rule: str, arrival: Arrival, judgement: Judgement) -> None:
        """Answer a message that does not match, or for which `when` cannot be evaluated."""
        problem = judgement.reason if judgement.outcome == "error" else None
        self._counts.count(rule, str(judgement.outcome), problem)
        if problem is not None and self._warned.level(f"error {rule}") != logging.DEBUG:
            _log.warning(
                "rule %s: %s; the message does not match (try one with butler-mqtt rules test)",
                rule,
                problem,
                extra={"action": "rule_error"},
            )
        self.no_rule(arrival)

    def no_rule(self, arrival: Arrival) -> None:
        """Answer a message that no rule makes a request of."""
        self._answer(arrival, {"matched": False})

    def _answer(self, arrival: Arrival, answer: Mapping[str, object]) -> None:
        """Answer who called a webhook, once the turn is on disk."""
        if arrival.on_stored is not None:
            self._turn.after(arrival.on_stored, arrival.request_id)
        if arrival.on_reply is not None:
            self._turn.after(arrival.on_reply, json.dumps(answer))
