"""Checks for each rule whether the broker grants its topic filters, on a session that is removed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from butler_mqtt.checks.finding import Finding, ok, wrong
from butler_mqtt.errors import BrokerError
from butler_mqtt.mqtt.probe import Probe
from butler_mqtt.settings import MqttSettings, RuleSettings


def check(mqtt: MqttSettings, rules: Sequence[RuleSettings], client_id: str) -> Iterator[Finding]:
    """Subscribe to the filters of each enabled rule."""
    for number, rule in enumerate(one for one in rules if one.enable and one.topics):
        yield _rule(mqtt, rule, f"{client_id}-rule{number}")


def _rule(mqtt: MqttSettings, rule: RuleSettings, client_id: str) -> Finding:
    refused = []
    try:
        for topic_filter in rule.topics:
            # A connection each: a broker may close it on what it does not take.
            with Probe(mqtt, client_id, keep_session=False) as probe:
                try:
                    probe.subscribe(topic_filter)
                except BrokerError as error:
                    refused.append(f"{topic_filter} ({error})")
    except BrokerError as error:
        return wrong("broker.rule", f"rule {rule.name}: {error}", "see the lines above")
    if refused:
        return wrong(
            "broker.rule",
            f"rule {rule.name}: subscribing at QoS 1 is refused for {', '.join(refused)}",
            "let the daemon's user read what the rule subscribes to in the broker's ACL",
        )
    return ok("broker.rule", f"rule {rule.name}: {', '.join(rule.topics)} granted at QoS 1")
