"""Messages that come close together become one request, whatever happens in between."""

from __future__ import annotations

import json

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.journal import held_requests, tables
from butler_mqtt.pipeline.rule_windows import MAX_WINDOWS
from butler_mqtt.settings import Coalesce, Settings, StartTask, Webhook
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.rule_harness import TASK, RuleHarness, rule

ORDERS = rule(coalesce=Coalesce(30, 300))


def payloads(harness: RuleHarness) -> list[bytes]:
    """Return the messages that became requests, in order."""
    return [row["payload"] for row in harness.rows(tables.deliveries)]


def test_messages_within_the_quiet_time_become_one_request_of_the_last(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    for number in range(3):
        harness.published("erp/orders", b"%d" % number)
        harness.turn()
        harness.window_clock.now += 29
    assert payloads(harness) == []
    harness.window_clock.now += 1
    harness.replied()
    assert payloads(harness) == [b"2"]
    assert harness.counts() == {"started": 1, "coalesced": 3}


def test_messages_that_never_pause_become_a_request_after_the_longest_time(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    for number in range(20):
        harness.published("erp/orders", b"%d" % number)
        harness.turn()
        harness.window_clock.now += 20
    harness.turn()
    assert payloads(harness) == [b"14"]


def test_the_longest_time_goes_on_through_a_crash(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    for number in range(20):
        harness.published("erp/orders", b"%d" % number)
        harness.turn()
        harness.window_clock.now += 20
        if number == 10:
            harness.restart()
    harness.turn()
    assert payloads(harness) == [b"14"]


def test_messages_are_acknowledged_while_their_window_is_open(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one", 8)
    harness.turn()
    assert harness.rule_broker.acknowledged == [(8, harness.generation)]
    assert harness.rows(tables.rule_windows)[0]["payload"] == b"one"


def test_a_window_survives_a_crash(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one")
    harness.turn()
    harness.window_clock.now += 20
    harness.restart()
    harness.published("erp/orders", b"two")
    harness.turn()
    harness.window_clock.now += 30
    harness.replied()
    assert payloads(harness) == [b"two"]
    assert harness.rows(tables.rule_windows) == []


def test_a_window_that_ended_while_the_daemon_was_down_becomes_a_request_at_once(
    make_rules: MakeRules,
) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one")
    harness.turn()
    harness.crash()
    harness.window_clock.now += 1000
    harness.start()
    assert harness.replied()[0]["tasksStarted"][0]["taskId"] == TASK


def test_a_redelivery_is_not_coalesced_twice(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    message = harness.published("erp/orders", b"one", 8)
    harness.turn()
    harness.restart()
    harness.bring_again(message)
    harness.turn()
    assert harness.rows(tables.rule_windows)[0]["count"] == 1


def test_a_window_ends_by_the_rule_under_which_it_began(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one")
    harness.turn()
    other = harness.site.add("Other")
    changed = rule(start={"taskId": other}, coalesce=Coalesce(5, 5))
    harness.pipeline.emit(Reconfigured(Settings(rules=(changed,))))
    harness.turn()
    harness.window_clock.now += 30
    assert harness.replied()[0]["tasksStarted"][0]["taskId"] == TASK


def test_a_window_outlives_its_rule(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one")
    harness.turn()
    harness.settings = Settings()
    harness.restart()
    harness.window_clock.now += 30
    assert harness.replied()[0]["rule"] == "orders"


def test_a_message_for_the_changed_rule_ends_the_window_of_before(make_rules: MakeRules) -> None:
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"old")
    harness.turn()
    harness.pipeline.emit(Reconfigured(Settings(rules=(rule(coalesce=Coalesce(5, 5)),))))
    harness.published("erp/orders", b"new")
    harness.replied()
    assert payloads(harness) == [b"old"]
    harness.window_clock.now += 5
    harness.replied(2)
    assert payloads(harness) == [b"old", b"new"]


def test_a_window_waits_for_room(make_rules: MakeRules) -> None:
    harness = make_rules(
        ORDERS, rule("plain"), start_task=StartTask(max_open_requests=1, max_concurrent_starts=1)
    )
    harness.published("erp/orders", b"one")
    harness.turn()
    harness.send({"taskId": TASK, "requestId": "first"})
    harness.turn()
    harness.window_clock.now += 30
    harness.turn()
    assert len(harness.rows(tables.requests)) == 1
    harness.replied(2)


def test_who_calls_a_webhook_is_told_when_its_window_ends(make_rules: MakeRules) -> None:
    harness = make_rules(rule(webhook=Webhook(), coalesce=Coalesce(30, 300)))
    answers = harness.webhook("orders", b"one")
    harness.until(lambda: answers)
    assert (answers[0]["matched"], answers[0]["status"], answers[0]["messages"]) == (True, "coalesced", 1)


def test_the_journal_does_not_have_the_secret_of_a_webhook(make_rules: MakeRules) -> None:
    harness = make_rules(rule(webhook=Webhook(secret=b"open sesame"), coalesce=Coalesce(30, 300)))
    harness.published("erp/orders", b"one")
    harness.turn()
    assert "sesame" not in json.dumps(harness.rows(tables.rule_windows)[0]["settings"])


def test_a_window_of_a_restored_backup_becomes_nothing(make_rules: MakeRules) -> None:
    """Most likely it became a request after the backup was made."""
    harness = make_rules(ORDERS)
    harness.published("erp/orders", b"one")
    harness.turn()
    assert len(harness.rows(tables.rule_windows)) == 1
    harness.crash()
    with harness.journal_file() as connection:
        held_requests.hold(connection, now_ms())
    harness.start()
    harness.window_clock.now += 30
    harness.turn()
    assert harness.rows(tables.requests) == []


def test_a_window_more_than_there_may_be_ends_that_which_would_end_first(make_rules: MakeRules) -> None:
    harness = make_rules(rule(payload="text", coalesce=Coalesce(30, 300, "payload")))
    for number in range(MAX_WINDOWS + 1):
        harness.published("erp/orders", b"%04d" % number)
    harness.until(lambda: len(harness.rule_broker.acknowledged) > MAX_WINDOWS)
    harness.replied()
    assert payloads(harness) == [b"0000"]
