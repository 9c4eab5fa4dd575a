"""What a rule starts is its sender's, or the operator's own where it has none."""

from __future__ import annotations

from typing import Any

from butler_mqtt.journal import tables
from butler_mqtt.settings import Sender, StartTaskFilter
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.rule_harness import TASK, RuleHarness, rule

NOTHING = StartTaskFilter(enable=True)


def identities(harness: RuleHarness) -> list[Any]:
    return [row["identity"] for row in harness.rows(tables.requests)]


def test_the_gate_of_its_sender_judges_what_a_rule_starts(make_rules: MakeRules) -> None:
    senders = (Sender("erp", rules=("orders",), allow_task=NOTHING),)
    harness = make_rules(rule("orders"), rule("invoices"), senders=senders, unknown_senders="deny")
    harness.published("erp/orders", "closed")
    assert harness.replied()[0]["code"] == "all_denied"
    harness.published("erp/invoices", "closed")
    assert harness.replied(2)[1]["tasksStarted"][0]["taskId"] == TASK
    assert identities(harness) == ["erp", "operator"]


def test_messages_of_rules_and_requests_of_their_sender_count_together(make_rules: MakeRules) -> None:
    senders = (Sender("erp", rules=("orders",), requests_per_minute=1),)
    harness = make_rules(rule("orders"), senders=senders)
    harness.published("erp/orders", "closed")
    assert harness.replied()[0]["status"] == "ok"
    harness.published("erp/orders", "closed")
    assert harness.replied(2)[1]["code"] == "rate_limited"
