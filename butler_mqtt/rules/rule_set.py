"""The rules of one configuration, found by topic filter, webhook and name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from butler_mqtt.contract import topics
from butler_mqtt.rules.rule import Rule
from butler_mqtt.settings import RuleSettings


class RuleSet:
    """
    Every rule of a configuration, in its order; those not enabled are known by name alone.

    Raises what `Rule` raises. A set is not changed once it is built.
    """

    def __init__(self, settings: Iterable[RuleSettings] = ()) -> None:
        self._rules = {one.name: Rule(one) for one in settings}
        self._of_filter: dict[str, tuple[Rule, ...]] = {}
        for rule in self.enabled():
            for topic_filter in dict.fromkeys(rule.settings.topics):
                self._of_filter[topic_filter] = (*self._of_filter.get(topic_filter, ()), rule)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def __len__(self) -> int:
        return len(self._rules)

    def enabled(self) -> tuple[Rule, ...]:
        """Return the rules that are switched on."""
        return tuple(rule for rule in self._rules.values() if rule.settings.enable)

    def filters(self) -> tuple[str, ...]:
        """Return the topic filters of enabled rules, each once."""
        return tuple(self._of_filter)

    def of_filter(self, topic_filter: str) -> tuple[Rule, ...]:
        """Return the enabled rules that have exactly this filter."""
        return self._of_filter.get(topic_filter, ())

    def of_topic(self, topic: str) -> tuple[Rule, ...]:
        """Return the enabled rules one of whose filters matches *topic*."""
        found = (
            rule
            for topic_filter, rules in self._of_filter.items()
            if topics.matches(topic_filter, topic)
            for rule in rules
        )
        return tuple(dict.fromkeys(found))

    def of_webhook(self, name: str) -> Rule | None:
        """Return the enabled rule of that name if it has a webhook."""
        rule = self._rules.get(name)
        return rule if rule and rule.settings.enable and rule.settings.webhook else None

    def by_name(self, name: str) -> Rule | None:
        """Return the rule of that name, enabled or not."""
        return self._rules.get(name)
