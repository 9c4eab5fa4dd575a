"""What a rule starts is its sender's, or the operator's own where it has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.journal import tables
from butler_mqtt.settings import Coalesce, Sender, StartTaskFilter
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


@pytest.mark.parametrize("restarted", [False, True], ids=["running on", "restarted"])
def test_messages_of_which_a_rule_can_make_no_request_count_too(
    make_rules: MakeRules, *, restarted: bool
) -> None:
    senders = (Sender("erp", rules=("orders",), requests_per_minute=1),)
    harness = make_rules(rule("orders", payload="json"), senders=senders)
    harness.published("erp/orders", b"no JSON")
    assert harness.replied()[0]["code"] == "rule_failed"
    if restarted:
        harness.quiet()
        harness.restart()
        harness.turn()
    harness.published("erp/orders", {})
    # After the crash the first reply is published again.
    harness.until(lambda: len({one["requestId"] for one in harness.replies()}) == 2)
    assert harness.replies()[-1]["code"] == "rate_limited"


@pytest.mark.parametrize("left", [(), (rule("orders", coalesce=Coalesce(10, 100)),)], ids=["rule", "sender"])
@pytest.mark.parametrize("restarted", [False, True], ids=["reload", "restart"])
def test_an_open_window_stays_its_sender_s_when_its_rule_is_taken_away(
    make_rules: MakeRules, left: tuple[Any, ...], restarted: bool
) -> None:
    senders = (Sender("erp", rules=("orders",), allow_task=NOTHING),)
    harness = make_rules(rule("orders", coalesce=Coalesce(10, 100)), senders=senders)
    harness.published("erp/orders", "closed")
    harness.until(lambda: harness.rows(tables.rule_windows))
    others = (Sender("crm"),) if left else (replace(senders[0], rules=()),)
    harness.settings = replace(harness.settings, rules=left, senders=others)
    if restarted:
        harness.restart()
    else:
        harness.pipeline.emit(Reconfigured(harness.settings))
    harness.turn()
    harness.window_clock.now += 50
    assert harness.replied()[0]["code"] == "all_denied"
    assert identities(harness) == ["erp"]
    assert harness.site.posts == []
