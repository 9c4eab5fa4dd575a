"""Checks that the broker grants what each rule subscribes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from butler_mqtt.checks.finding import Finding, ok, wrong
from butler_mqtt.contract import topics
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.probe import Probe
from butler_mqtt.settings import MqttSettings, RuleSettings

_NAME = "broker.rule"


def check(mqtt: MqttSettings, rules: Sequence[RuleSettings], client_id: str) -> Iterator[Finding]:
    """Return a line for each rule, on a session that ends with its connection."""
    if not any(rule.enable and rule.topics for rule in rules):
        yield from map(_quiet, rules)
        return
    name = f"{client_id}-rules"
    for rule in rules:
        yield _granted(mqtt, rule, name) if rule.enable and rule.topics else _quiet(rule)
    try:
        with Probe(mqtt, name, keep_session=False) as probe:
            if not probe.limits.subscription_identifiers:
                yield from _overlaps(rules)
    except BrokerError as error:
        yield wrong(_NAME, f"subscribing for rules failed: {error}", "see the lines above")


def _granted(mqtt: MqttSettings, rule: RuleSettings, client_id: str) -> Finding:
    for topic_filter in rule.topics:
        try:
            # A connection each: a broker may close it on what it does not grant.
            with Probe(mqtt, client_id, keep_session=False) as probe:
                probe.subscribe(topic_filter)
        except BrokerError as error:
            return wrong(
                _NAME,
                f"rule {rule.name}: subscribing to {topic_filter} at QoS 1 is answered with: {error}",
                f"let the daemon's user read {topic_filter} in the broker's ACL",
            )
    webhook = f", and POST /v4/rules/{rule.name}" if rule.webhook else ""
    return ok(_NAME, f"rule {rule.name}: {', '.join(rule.topics)} is granted at QoS 1{webhook}")


def _quiet(rule: RuleSettings) -> Finding:
    if not rule.enable:
        return ok(_NAME, f"rule {rule.name} is off (enable: false)")
    return ok(_NAME, f"rule {rule.name} subscribes to nothing: POST /v4/rules/{rule.name}")


def _overlaps(rules: Sequence[RuleSettings]) -> Iterator[Finding]:
    """Name the filters that cannot be told apart by a broker without Subscription Identifiers."""
    filters = dict.fromkeys(one for rule in rules if rule.enable for one in rule.topics)
    for one, other in combinations(filters, 2):
        if topics.overlap(one, other):
            yield wrong(
                _NAME,
                f"{one} and {other} match the same topics, and this broker has no Subscription Identifiers",
                "write filters of rules that do not overlap",
            )
