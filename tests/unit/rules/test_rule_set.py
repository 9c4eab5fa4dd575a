"""Which rules a message is for."""

from __future__ import annotations

from collections.abc import Iterable

from butler_mqtt.rules.rule import Rule
from butler_mqtt.rules.rule_set import RuleSet
from butler_mqtt.settings import RuleSettings, Webhook


def settings(name: str, *topics: str, enable: bool = True, webhook: Webhook | None = None) -> RuleSettings:
    return RuleSettings(name=name, topics=topics, enable=enable, webhook=webhook, start={"tag": "x"})


RULES = RuleSet(
    [
        settings("a", "erp/+/closed", "erp/#"),
        settings("b", "erp/#"),
        settings("off", "plc/#", enable=False, webhook=Webhook()),
        settings("hook", webhook=Webhook()),
    ]
)


def names(rules: Iterable[Rule]) -> list[str]:
    return [rule.name for rule in rules]


def test_filters_of_enabled_rules_are_given_once() -> None:
    assert RULES.filters() == ("erp/+/closed", "erp/#")


def test_a_filter_has_the_rules_that_name_it() -> None:
    assert names(RULES.of_filter("erp/#")) == ["a", "b"]
    assert names(RULES.of_filter("erp/+/closed")) == ["a"]
    assert RULES.of_filter("plc/#") == ()


def test_a_topic_has_each_rule_once() -> None:
    assert names(RULES.of_topic("erp/fin/closed")) == ["a", "b"]
    assert RULES.of_topic("plc/1") == ()


def test_a_webhook_is_found_by_the_name_of_its_enabled_rule() -> None:
    assert RULES.of_webhook("hook") is RULES.by_name("hook")
    assert RULES.of_webhook("off") is None
    assert RULES.of_webhook("a") is None


def test_a_rule_that_is_off_is_known_by_its_name() -> None:
    assert names(RULES) == ["a", "b", "off", "hook"]
    assert names(RULES.enabled()) == ["a", "b", "hook"]
    assert RULES.by_name("off") is not None
    assert RULES.by_name("other") is None
