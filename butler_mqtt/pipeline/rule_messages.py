"""
Messages for rules, from arrival to requests.

They are judged within a turn, behind its requests and for a limited time (`rule_pace`):
a flood must not hold those up. What is made of one is on disk with the turn, before its PUBACK.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from butler_mqtt.domain.completions import RuleAcknowledgementsRead, RuleFilterAnswered, RuleSessionBegan
from butler_mqtt.domain.model import Arrival
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline import rule_judging
from butler_mqtt.pipeline.rule_outcomes import RuleOutcomes
from butler_mqtt.pipeline.rule_pace import RulePace
from butler_mqtt.pipeline.rule_packets import RulePackets
from butler_mqtt.pipeline.rule_queue import RuleQueue
from butler_mqtt.pipeline.rule_windows import RuleWindows, WindowClock
from butler_mqtt.pipeline.rules_in_force import RulesInForce
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.settings import RuleSettings, Settings

if TYPE_CHECKING:
    from butler_mqtt.rules.message import DecodedMessage
    from butler_mqtt.rules.rule import Rule

#: Windows that are ended in one turn.
MAX_ENDED = 100
_MAX_WARNED = 1000

_log = logging.getLogger("butler_mqtt.rules")


class RuleMessages:
    """
    Judges messages, a turn's worth at a time.

    Args:
        settings: The whole configuration.
        turn: Gathers the rows.
        ledger: Writes them.
        has_room: Whether there is room for one more request besides so many.
        timer: The clock of windows.
        monotonic: That of the time a turn may take, seconds.
    """

    def __init__(
        self,
        settings: Settings,
        turn: UnitOfWork,
        ledger: Ledger,
        has_room: Callable[[int], bool],
        *,
        timer: WindowClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turn = turn
        self._has_room = has_room
        self._rules = RulesInForce(settings, turn, ledger.rules)
        self._queue = RuleQueue()
        self._calls: list[Arrival] = []
        self._packets = RulePackets(ledger.rules, settings.mqtt.receive_maximum)
        self._windows = RuleWindows(turn, ledger.rules, timer=timer)
        self._warned = RepeatedLines(monotonic, pause_seconds=rule_judging.WARN_SECONDS, most=_MAX_WARNED)
        self._pace = RulePace(monotonic)
        self._outcomes = RuleOutcomes(turn, ledger.rules, self._warned)
        self._judged: list[Arrival] = []

    # ---- what lasts

    def begin(self, subscribe: Callable[[Mapping[int, str], Mapping[int, str]], None]) -> None:
        """Have *subscribe* called, whenever these change, with the filters wanted and those not any more."""
        self._rules.begin(subscribe)

    def load(self, transaction: Transaction) -> None:
        """Read from the journal, in place of what is in memory; what waits to be judged stays."""
        # What a turn that failed has judged is not on disk, and must not be acknowledged.
        self._judged = []
        self._outcomes.load(transaction)
        self._packets.load(transaction)
        self._windows.load(transaction)
        self._rules.load(transaction)

    def reconfigured(self, settings: Settings) -> None:
        """Judge by other rules from now on; open windows go on under those they began with."""
        self._rules.reconfigured(settings)

    @property
    def problems(self) -> Mapping[str, str]:
        """Return what is wrong with filters, by filter; may be read by any thread."""
        return self._rules.problems

    def next_due(self) -> float | None:
        """Return in how many seconds there is something to do; None while only an arrival can bring it."""
        ends = self._windows.next_end
        if len(self._queue) and self._has_room(0):
            waits = self._pace.next_turn()
            return waits if ends is None else min(waits, ends)
        return ends

    # ---- a turn

    def turn_begins(self, *, again: bool) -> None:
        """Forget what was made of messages in the last turn."""
        self._queue.begin()
        self._calls.clear()
        self._judged = []
        self._outcomes.begin()
        self._packets.begin(self._turn.last_id(tables.rule_packets), again=again)

    def add(self, arrival: Arrival) -> None:
        """Have a message judged, in this turn or a later one; who calls a webhook need not wait."""
        if arrival.webhook is not None and self._has_room(len(self._calls)):
            self._calls.append(arrival)
        else:
            self._queue.add(arrival)

    def apply(self, event: RuleSessionBegan | RuleAcknowledgementsRead | RuleFilterAnswered) -> None:
        """Apply what the connection of rules reports."""
        match event:
            case RuleSessionBegan():
                self._queue.session_began(event)
                self._packets.session_began(event)
            case RuleAcknowledgementsRead(generation, count):
                self._packets.acknowledgements_read(generation, count)
            case RuleFilterAnswered():
                self._rules.answered(event)

    def step(self, transaction: Transaction, *, requests: bool, again: bool) -> RuleOutcomes:
        """
        End windows and judge messages; return what comes of it.

        Args:
            transaction: That of the turn.
            requests: Requests arrived with this turn, or the outcomes of their POSTs.
            again: This turn was attempted before.
        """
        if requests:
            self._pace.request_came()
        if not (self._calls or len(self._queue) or len(self._windows)):
            return self._outcomes
        self._end_windows(transaction)
        for call in self._calls:
            self._judge(transaction, call, again=again)

        def judge_next() -> bool:
            self._judge(transaction, self._queue.take(), again=again)
            return self._can_judge()

        if self._can_judge() and not self._pace.waits():
            self._pace.judge(judge_next)
        self._outcomes.write()
        return self._outcomes

    def commit(self) -> None:
        """Keep the changes of this turn."""
        self._queue.commit()

    def refused_whole(self, arrivals: Iterable[Arrival]) -> None:
        """Have those of *arrivals* acknowledged that are for rules: refused on disk after a fault."""
        self._judged += [one for one in arrivals if one.door == "rule"]

    def acknowledge(self, acknowledge: Callable[[int, int], None]) -> None:
        """Have the messages acknowledged that were judged in this turn, which is on disk."""
        messages = [one.message for one in self._judged if one.message is not None]
        self._judged = []
        for message in messages:
            acknowledge(message.packet_id, message.generation)
        self._packets.acknowledged(messages)

    # ---- judging

    def _can_judge(self) -> bool:
        return len(self._queue) > 0 and self._has_room(len(self._outcomes.made))

    def _judge(self, transaction: Transaction, arrival: Arrival, *, again: bool) -> None:
        """Judge one message by each of its rules."""
        if arrival.given_up is not None and arrival.given_up():
            return
        self._judged.append(arrival)
        message = arrival.message
        if message is not None and message.retain:
            # Seen with MQTT 3.1.1 only: it is old, and comes again with each subscription.
            _log.log(
                self._warned.level(f"retained {message.topic}"),
                "a message retained on %s was acknowledged and not judged: rules are for live messages",
                message.topic,
                extra={"action": "rule_retained_ignored"},
            )
            return
        if message is not None and not self._packets.is_new(message, again=again):
            _log.info(
                "packet %s for rules was delivered again by the broker; it was judged before",
                message.packet_id,
                extra={"action": "redelivery_recognised"},
            )
            return
        rules = self._rules.of(arrival)
        if not rules:
            self._no_rule(arrival)
            return
        # Loaded already: there are rules.
        from butler_mqtt.rules.message import DecodedMessage  # noqa: PLC0415 -- as above

        decoded = DecodedMessage(rule_judging.message_of(arrival))
        for rule in rules:
            self._judge_by(transaction, rule, arrival, decoded)

    def _judge_by(
        self, transaction: Transaction, rule: Rule, arrival: Arrival, decoded: DecodedMessage
    ) -> None:
        judgement = rule_judging.judged(rule, decoded)
        if isinstance(judgement, RequestError):
            self._outcomes.fail(rule.name, arrival, judgement)
        elif judgement.outcome != "matched":
            self._outcomes.unmatched(rule.name, arrival, judgement)
        elif rule.settings.coalesce is not None:
            self._coalesce(transaction, rule.settings, judgement.key, arrival, decoded)
        else:
            self._outcomes.make(rule, arrival, decoded)

    def _coalesce(
        self,
        transaction: Transaction,
        rule: RuleSettings,
        key: str | None,
        arrival: Arrival,
        decoded: DecodedMessage,
    ) -> None:
        owner = self._rules.owner_of(rule.name)
        window, ended = self._windows.add(transaction, rule, key, decoded.message, owner=owner)
        for one in ended:
            self._outcomes.make_of_window(one)
        self._outcomes.coalesced(rule.name, arrival, window.count, self._windows.ends_at(window))

    def _end_windows(self, transaction: Transaction) -> None:
        due = self._windows.due()
        for _ in range(MAX_ENDED):
            if not self._has_room(len(self._outcomes.made)) or (window := next(due, None)) is None:
                return
            self._outcomes.make_of_window(self._windows.end(transaction, window))

    def _no_rule(self, arrival: Arrival) -> None:
        """Count a message for which there is no rule, or not on this copy of it."""
        self._outcomes.no_rule(arrival)
        message = arrival.message
        if message is None or self._rules.brought(message):
            return
        self._turn.count(self._turn.counting.stale_rule_message)
        _log.log(
            self._warned.level(f"stale {message.topic}"),
            "a message on %s was acknowledged and not judged: no rule is for it any more",
            message.topic,
            extra={"action": "rule_message_stale"},
        )
