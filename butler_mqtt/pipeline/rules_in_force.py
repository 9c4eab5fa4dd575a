"""The rules of the present configuration: which of them judge a message, and the filters that bring it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from butler_mqtt.contract import topics
from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.domain.model import Arrival, Message
from butler_mqtt.domain.senders import Senders
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline.rule_filters import RuleFilters
from butler_mqtt.settings import Settings

if TYPE_CHECKING:
    from butler_mqtt.rules.rule import Rule
    from butler_mqtt.rules.rule_set import RuleSet


class RulesInForce:
    """
    Chooses the rules of a message, and has their filters subscribed to.

    Args:
        settings: The whole configuration.
        turn: What the connection is to do is done once it is on disk.
        records: Writes the filters.
    """

    def __init__(self, settings: Settings, turn: UnitOfWork, records: RuleRecords) -> None:
        self._turn = turn
        self._rules = _rule_set(settings)
        self._senders = Senders(settings)
        self._has_broker = settings.mqtt.enable
        self._filters = RuleFilters(records)
        self._subscribe: Callable[[Mapping[int, str], Mapping[int, str]], None] = lambda _wanted, _not: None

    def begin(self, subscribe: Callable[[Mapping[int, str], Mapping[int, str]], None]) -> None:
        """Have *subscribe* called, whenever these change, with the filters wanted and those not any more."""
        self._subscribe = subscribe

    def load(self, transaction: Transaction) -> None:
        """Read from the journal which filters the broker may have."""
        self._filters.load(transaction)
        self._want()

    def reconfigured(self, settings: Settings) -> None:
        """Judge by other rules from now on."""
        self._rules = _rule_set(settings)
        self._senders = Senders(settings)
        self._want()

    def answered(self, event: RuleFilterAnswered) -> None:
        """Apply what the broker says of a filter."""
        rules = self._of_filter(self._filters.wanted.get(event.row, ""))
        self._filters.answered(event, [rule.name for rule in rules])

    @property
    def problems(self) -> Mapping[str, str]:
        """Return what is wrong with filters, by filter; may be read by any thread."""
        wanted = self._filters.wanted
        return {wanted[row]: text for row, text in list(self._filters.problems.items()) if row in wanted}

    def owner_of(self, rule: str) -> str | None:
        """Return the identity whose rule that is, None where nobody is told apart."""
        return self._senders.of_rule(rule).identity

    def brought(self, message: Message) -> bool:
        """Return whether a filter that a rule has brought this copy of a message."""
        return any(row in self._filters.wanted for row in message.filters or ())

    def of(self, arrival: Arrival) -> tuple[Rule, ...]:
        """
        Return the rules that judge this copy of a message.

        Where several filters of one rule match its topic, the broker may send a
        copy for each: that of the filter subscribed to first is judged.
        """
        if self._rules is None:
            return ()
        if arrival.webhook is not None:
            rule = self._rules.of_webhook(arrival.webhook.rule)
            return () if rule is None else (rule,)
        message = arrival.message
        if message is None or not message.filters:
            return ()
        wanted = self._filters.wanted
        # A restored journal may give an identifier again that the broker knows as another filter's.
        known = (row for row in message.filters if row in wanted)
        brought = [row for row in known if topics.matches(wanted[row], message.topic)]
        found = dict.fromkeys(rule for row in brought for rule in self._of_filter(wanted[row]))
        if len(brought) == 1 and all(len(rule.settings.topics) == 1 for rule in found):
            return tuple(found)
        matching = [
            row
            for row, topic_filter in sorted(wanted.items())
            if self._filters.working(row) and topics.matches(topic_filter, message.topic)
        ]
        return tuple(
            rule
            for rule in found
            if next((row for row in matching if wanted[row] in rule.settings.topics), None)
            in {*message.filters, None}
        )

    def _of_filter(self, topic_filter: str) -> tuple[Rule, ...]:
        return () if self._rules is None else self._rules.of_filter(topic_filter)

    def _want(self) -> None:
        """Have the filters of the rules subscribed to once this turn is on disk."""
        self._filters.want(self._rules.filters() if self._rules is not None and self._has_broker else ())
        self._turn.after(self._subscribe, dict(self._filters.wanted), dict(self._filters.unwanted))


def _rule_set(settings: Settings) -> RuleSet | None:
    if not settings.rules:
        return None
    from butler_mqtt.rules.rule_set import RuleSet  # noqa: PLC0415 -- costly to load, and needed here only

    return RuleSet(settings.rules)
