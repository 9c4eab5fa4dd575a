"""The lines about rules, on a real mosquitto."""

from __future__ import annotations

from pathlib import Path

from butler_mqtt.checks import broker as trial
from butler_mqtt.checks.finding import State
from butler_mqtt.settings import RuleSettings, StartTask, Webhook
from tests.brokers import Mosquitto

RULES = (
    RuleSettings("orders", topics=("erp/+/orders", "erp/all"), webhook=Webhook()),
    RuleSettings("press", topics=("plc/#",)),
    RuleSettings("old", enable=False, topics=("old/#",)),
    RuleSettings("hook", webhook=Webhook()),
)


def lines(broker: Mosquitto, *rules: RuleSettings) -> list[tuple[State, str]]:
    """Return the state and the text of each line about rules."""
    findings = trial.check(broker.settings(), StartTask(), rules)
    return [(one.state, one.text) for one in findings if one.name == "broker.rule"]


def test_each_rule_has_a_line_with_what_it_subscribes_to(broker: Mosquitto) -> None:
    assert lines(broker, *RULES) == [
        (State.OK, "rule orders: erp/+/orders, erp/all is granted at QoS 1, and POST /v4/rules/orders"),
        (State.OK, "rule press: plc/# is granted at QoS 1"),
        (State.OK, "rule old is off (enable: false)"),
        (State.OK, "rule hook subscribes to nothing: POST /v4/rules/hook"),
    ]


def test_rules_without_topics_need_no_connection(broker: Mosquitto) -> None:
    assert [state for state, _ in lines(broker, *RULES[2:])] == [State.OK, State.OK]


def test_a_filter_that_the_broker_refuses_is_wrong_and_the_others_are_tried(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, refused_subscriptions=("erp/all",)) as broker:
        first, second, *_ = lines(broker, *RULES)
    assert first[0] is State.WRONG
    assert first[1].startswith("rule orders: subscribing to erp/all at QoS 1 is answered with: ")
    assert second == (State.OK, "rule press: plc/# is granted at QoS 1")
