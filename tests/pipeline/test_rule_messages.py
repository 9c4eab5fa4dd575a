"""Messages for rules: which requests they become, once, whatever happens."""

from __future__ import annotations

import json

import pytest

from butler_mqtt.domain.completions import Posted, Reconfigured, RuleFilterAnswered
from butler_mqtt.domain.model import Arrival
from butler_mqtt.http.metrics import Metrics
from butler_mqtt.journal import tables
from butler_mqtt.settings import MqttSettings, Settings, StartTask, Webhook
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.rule_harness import TASK, rule


def test_a_message_that_matches_starts_its_task(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed")
    reply = harness.replied()[0]
    assert (reply["rule"], reply["tasksStarted"][0]["taskId"]) == ("orders", TASK)
    assert harness.counts() == {"started": 1}


def test_topics_of_the_broker_itself_are_judged_as_any_other(make_rules: MakeRules) -> None:
    late = rule("late", "$SYS/broker/uptime", when='text.endsWith("0 seconds")')
    harness = make_rules(late, rule("wide", "$SYS/#", payload="json"), rule("all", "+/#"))
    harness.published("$SYS/broker/uptime", b"11 seconds")
    harness.published("$SYS/broker/uptime", b"20 seconds")
    replies = harness.replied(3)
    assert sorted((reply["rule"], reply.get("code")) for reply in replies) == [
        ("late", None),
        ("wide", "rule_failed"),
        ("wide", "rule_failed"),
    ]


def test_its_reply_goes_to_the_topic_of_replies_whatever_the_message_asks_for(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed", response_topic="qliksense/mine", correlation=b"c")
    harness.replied()
    published = harness.broker.published[0]
    assert (published.topic, published.correlation) == (
        harness.settings.mqtt.task_start_reply_topic,
        None,
    )


def test_the_reply_to_a_cancel_that_a_rule_asks_for_names_the_rule(make_rules: MakeRules) -> None:
    start = {"cancel": "${{ text }}"}
    harness = make_rules(rule("orders"), rule("taken-back", "erp/cancelled", start=start))
    harness.published("erp/orders", "closed")
    started = harness.replied()[0]
    harness.published("erp/cancelled", str(started["requestId"]).encode())
    reply = harness.replied(2)[1]
    assert (reply["rule"], reply["cancelled"]) == ("taken-back", started["requestId"])


def test_the_journal_has_the_message_and_the_request_it_became(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", b"as it came")
    harness.replied()
    request, delivery = harness.rows(tables.requests)[0], harness.rows(tables.deliveries)[0]
    assert (request["door"], request["rule"]) == ("rule", "orders")
    assert (delivery["payload"], delivery["topic"]) == (b"as it came", "erp/orders")


def test_events_name_the_rule(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed")
    harness.until(lambda: harness.broker.events)
    assert json.loads(harness.broker.events[0].payload)["rule"] == "orders"


def test_a_message_is_acknowledged_once_what_it_became_is_on_disk(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed", 7)
    assert harness.rule_broker.acknowledged == []
    harness.turn()
    assert harness.rule_broker.acknowledged == [(7, harness.generation)]
    assert len(harness.rows(tables.requests)) == 1


def test_a_message_is_acknowledged_by_no_turn_that_fails(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed", 7)
    harness.journal.fail("before")
    harness.until(lambda: len(harness.rows(tables.requests)) == 1)
    assert harness.rule_broker.acknowledged == [(7, harness.generation)]


def test_a_message_that_is_refused_for_a_fault_is_acknowledged_on_its_own_connection(
    make_rules: MakeRules,
) -> None:
    harness = make_rules()
    message = harness.message("broken", 7)
    harness.pipeline.turns.act([Arrival("rule", message.payload, 0, message)])
    assert harness.rule_broker.acknowledged == [(7, message.generation)]
    assert harness.broker.acknowledged == []


def test_each_rule_that_matches_makes_a_request(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one", "erp/+"), rule("two", "erp/#"), rule("third", "mes/#"))
    harness.published("erp/orders", "closed")
    assert {reply["rule"] for reply in harness.replied(2)} == {"one", "two"}


def test_a_copy_is_judged_by_the_rules_of_its_own_filter(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one", "erp/+"), rule("two", "erp/#"))
    both = harness.brought("erp/orders")
    for identifier in both:
        harness.published("erp/orders", "closed", filters=(identifier,))
    harness.replied(2)
    harness.quiet()
    assert [row["rule"] for row in harness.rows(tables.requests)] == ["one", "two"]


def test_copies_for_several_filters_of_one_rule_are_one_message_to_it(make_rules: MakeRules) -> None:
    harness = make_rules(rule("orders", "erp/+", "erp/#"))
    for identifier in harness.brought("erp/orders"):
        harness.published("erp/orders", "closed", filters=(identifier,))
    harness.replied()
    harness.quiet()
    assert len(harness.rows(tables.requests)) == 1
    assert len(harness.rule_broker.acknowledged) == 2


def test_a_filter_that_the_broker_refused_is_not_waited_for(make_rules: MakeRules) -> None:
    harness = make_rules(rule("orders", "erp/+", "erp/#"))
    first, second = harness.brought("erp/orders")
    harness.pipeline.emit(RuleFilterAnswered(first, subscribed=False, problem="not authorized"))
    harness.published("erp/orders", "closed", filters=(second,))
    assert harness.replied()[0]["rule"] == "orders"


def test_a_redelivery_is_recognised(make_rules: MakeRules) -> None:
    harness = make_rules()
    message = harness.published("erp/orders", "closed", 9)
    harness.turn()
    harness.connect(present=True)
    harness.bring_again(message)
    harness.quiet()
    assert len(harness.rows(tables.requests)) == 1
    assert harness.counts() == {"started": 1}
    assert harness.rule_broker.acknowledged[-1] == (9, harness.generation)


def test_a_redelivery_is_recognised_after_a_crash_for_every_request_it_became(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one", "erp/+"), rule("two", "erp/#"))
    message = harness.published("erp/orders", "closed", 9)
    harness.turn()
    harness.restart()
    harness.bring_again(message)
    harness.replied(2)
    harness.quiet()
    assert len(harness.rows(tables.requests)) == 2


def test_an_equal_message_with_another_packet_id_is_another_message(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed", 9)
    harness.published("erp/orders", "closed", 10)
    harness.replied(2)
    assert harness.counts() == {"started": 2}


def test_without_the_session_nothing_is_taken_for_a_redelivery(make_rules: MakeRules) -> None:
    harness = make_rules()
    message = harness.published("erp/orders", "closed", 9)
    harness.turn()
    harness.connect(present=False)
    harness.bring_again(message)
    harness.replied(2)
    assert harness.counts() == {"started": 2}


def test_what_was_not_read_is_recognised_after_a_crash_beyond_the_last_ones(make_rules: MakeRules) -> None:
    harness = make_rules(mqtt=MqttSettings(receive_maximum=2))
    messages = [harness.published("erp/orders", f"{number}", 10 + number) for number in range(4)]
    harness.replied(4)
    harness.restart()
    harness.bring_again(messages[0])
    harness.turn()
    assert len(harness.rows(tables.requests)) == 4


@pytest.mark.parametrize("crash", [False, True], ids=["", "after a crash"])
def test_a_session_that_was_lost_lends_its_messages_to_no_later_one(
    make_rules: MakeRules, crash: bool
) -> None:
    harness = make_rules()
    message = harness.published("erp/orders", "closed", 9)
    harness.replied()
    harness.connect(present=False)
    harness.turn()
    if crash:
        harness.restart()
    else:
        harness.connect(present=True)
    # The first copy of another message was lost with a connection.
    harness.bring_again(message)
    for _ in range(3):
        harness.turn()
    assert harness.counts() == {"started": 2}


def test_what_was_acknowledged_and_read_is_kept_for_the_last_only(make_rules: MakeRules) -> None:
    harness = make_rules()
    limit = harness.settings.mqtt.receive_maximum
    for number in range(limit + 30):
        harness.published("erp/orders", f"closed {number}", 1 + number)
    harness.until(lambda: len(harness.rule_broker.acknowledged) == limit + 30)
    harness.rule_broker.read()
    harness.turn()
    assert len(harness.rows(tables.rule_packets)) == limit


def test_a_stored_retained_message_starts_nothing(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed", 3, retain=True)
    harness.turn()
    assert harness.rule_broker.acknowledged == [(3, harness.generation)]
    assert harness.rows(tables.requests) == []


def test_a_turn_that_was_written_and_failed_all_the_same_counts_once(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.journal.fail("after")
    harness.published("erp/orders", "closed", 4)
    harness.replied()
    harness.quiet()
    assert len(harness.rows(tables.requests)) == 1
    assert harness.counts() == {"started": 1}


def test_a_message_waits_for_room(make_rules: MakeRules) -> None:
    harness = make_rules(start_task=StartTask(max_open_requests=1))
    harness.published("erp/orders", "one", 1)
    harness.published("erp/orders", "two", 2)
    harness.turn()
    assert harness.rule_broker.acknowledged == [(1, harness.generation)]
    harness.replied(2)
    assert harness.rule_broker.acknowledged == [(1, harness.generation), (2, harness.generation)]


def test_a_message_that_comes_while_the_daemon_ends_is_left_to_the_next_process(
    make_rules: MakeRules,
) -> None:
    harness = make_rules()
    harness.pipeline.drain(0.0)
    message = harness.published("erp/orders", "closed", 7)
    harness.turn()
    assert (harness.rule_broker.acknowledged, harness.rows(tables.requests)) == ([], [])
    harness.restart()
    harness.bring_again(message)
    harness.replied()
    assert harness.counts() == {"started": 1}


def test_requests_of_the_same_turn_go_first(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.published("erp/orders", "closed")
    harness.send({"taskId": TASK, "requestId": "first"})
    harness.replied(2)
    assert harness.rows(tables.requests)[0]["request_id"] == "first"


def test_a_flood_is_judged_little_by_little_while_requests_arrive(make_rules: MakeRules) -> None:
    harness = make_rules(rule(payload="json", when="payload > 1000000"))
    harness.send({"taskId": TASK})
    for number in range(450):
        harness.published("erp/orders", number)
    harness.turn()
    assert len(harness.rows(tables.requests)) == 1
    assert 0 < len(harness.rule_broker.acknowledged) < 200
    harness.until(lambda: len(harness.rule_broker.acknowledged) == 450)


def test_outcomes_for_requests_of_doors_hold_a_flood_back_and_those_of_its_own_do_not(
    make_rules: MakeRules,
) -> None:
    harness = make_rules()
    other = harness.site.add("Other")
    harness.published("erp/orders", "closed")
    harness.send({"taskId": other})
    harness.until(lambda: len(harness.rows(tables.runs)) == 2)
    runs = {row["task_id"]: Posted(row["id"], None) for row in harness.rows(tables.runs)}
    serve_doors = harness.pipeline.dispatcher.runs.serve_doors
    assert not serve_doors([runs[TASK]])
    assert serve_doors([runs[TASK], runs[other]])
    harness.replied(2)
    assert not serve_doors([runs[other]])  # it is over


# ---- filters


def test_a_filter_keeps_its_identifier_through_a_restart(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"), rule("two"))
    before = dict(harness.rule_broker.wanted)
    harness.restart()
    assert harness.rule_broker.wanted == before == {1: "erp/one", 2: "erp/two"}


def test_a_filter_that_no_rule_has_any_more_is_unsubscribed_from(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"), rule("two"))
    harness.settings = Settings(rules=(rule("two"),))
    harness.restart()
    assert (harness.rule_broker.wanted, harness.rule_broker.unwanted) == ({2: "erp/two"}, {1: "erp/one"})
    harness.pipeline.emit(RuleFilterAnswered(1, subscribed=False))
    harness.turn()
    harness.restart()
    assert harness.rule_broker.unwanted == {}


def test_what_still_arrives_for_it_is_acknowledged_and_not_acted_upon(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"), rule("two"))
    harness.settings = Settings(rules=(rule("two"),))
    harness.metrics = Metrics()
    harness.restart()
    harness.published("erp/one", "closed", 5, filters=(1,))
    harness.turn()
    assert harness.rule_broker.acknowledged == [(5, harness.generation)]
    assert harness.rows(tables.requests) == []
    assert harness.counted("butler_mqtt_rule_messages_stale_total") == 1


def test_a_filter_that_comes_back_has_another_identifier(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"), rule("two"))
    harness.settings = Settings(rules=(rule("two"),))
    harness.restart()
    harness.settings = Settings(rules=(rule("two"), rule("one")))
    harness.restart()
    assert harness.rule_broker.wanted == {2: "erp/two", 3: "erp/one"}


def test_a_reload_changes_the_filters_without_a_reconnect(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"))
    harness.pipeline.emit(Reconfigured(Settings(rules=(rule("two"),))))
    harness.turn()
    assert (harness.rule_broker.wanted, harness.rule_broker.unwanted) == ({2: "erp/two"}, {1: "erp/one"})
    harness.published("erp/two", "closed")
    assert harness.replied()[0]["rule"] == "two"


def test_without_rules_nothing_is_subscribed_to_and_nothing_counted(make_rules: MakeRules) -> None:
    harness = make_rules()
    harness.settings = Settings()
    harness.restart()
    assert harness.rule_broker.wanted == {}
    assert harness.rows(tables.rule_counts) == []


def test_an_identifier_that_the_broker_knows_as_another_filters_is_not_trusted(make_rules: MakeRules) -> None:
    harness = make_rules(rule("one"))
    harness.published("mes/line", "closed", filters=(1,))
    harness.turn()
    assert harness.rows(tables.requests) == []
    assert len(harness.rule_broker.acknowledged) == 1


# ---- webhooks


def test_who_calls_a_webhook_gets_the_reply(make_rules: MakeRules) -> None:
    harness = make_rules(rule(webhook=Webhook()))
    answers = harness.webhook("orders", "closed", principal="git")
    harness.until(lambda: answers)
    assert answers[0]["tasksStarted"][0]["taskId"] == TASK
    assert harness.broker.published == []
    assert harness.rows(tables.deliveries)[0]["principal"] == "git"


def test_an_unknown_webhook_matches_nothing(make_rules: MakeRules) -> None:
    harness = make_rules(rule(webhook=Webhook()))
    answers = harness.webhook("gone", "closed")
    harness.until(lambda: answers)
    assert answers == [{"matched": False}]


def test_the_log_says_once_what_is_wrong_with_a_condition(
    make_rules: MakeRules, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_rules(rule(when="payload.total >= 5", payload="json"))
    harness.published("erp/orders", {"total": "7"})
    harness.until(lambda: harness.counts() == {"error": 1})
    [line] = [one.getMessage() for one in caplog.records if vars(one).get("action") == "rule_error"]
    assert line == (
        "rule orders: when: payload.total >= 5: a text >= a number is not possible; write int(…) or "
        "double(…) around the text; the message does not match (try one with butler-mqtt rules test)"
    )


def test_a_call_of_a_webhook_that_was_given_up_is_not_judged(make_rules: MakeRules) -> None:
    harness = make_rules(rule(webhook=Webhook()))
    harness.webhook("orders", "closed", given_up=lambda: True)
    answers = harness.webhook("orders", "closed")
    harness.until(lambda: answers)
    assert harness.counts() == {"started": 1}
