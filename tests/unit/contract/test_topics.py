from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from butler_mqtt import settings
from butler_mqtt.contract.topics import covers, filter_problem, matches, may_reply, overlap, problem

LEVELS = st.sampled_from(["", "a", "b", "qliksense", "$SYS", "+"])
TOPICS = st.lists(st.sampled_from(["", "a", "b", "qliksense", "$SYS"]), min_size=1, max_size=5).map("/".join)
FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(LEVELS, min_size=1, max_size=5),
    st.sampled_from([(), ("#",)]),
)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("+/+", "/a", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("a/b/c", "a/b", False),
    ],
)
def test_filters_match_as_the_standard_says(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@given(FILTERS, TOPICS)
def test_matching_agrees_with_the_client_library(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) == topic_matches_sub(topic_filter, topic)


@pytest.mark.parametrize(
    "topic", ["a", "/", "qliksense/task/start", "Ümläut/日本", "with blank/😀", "$SYS/a"]
)
def test_these_are_topic_names(topic: str) -> None:
    assert problem(topic) is None


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("", "empty"),
        ("a/+", "wildcards"),
        ("a/#", "wildcards"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x9fb", "control"),
        ("a\ud800b", "control"),
        ("a\ufffeb", "no characters"),
        ("a\ufdd0b", "no characters"),
        ("a\U0001ffffb", "no characters"),
        ("ä" * 32768, "65535"),
    ],
)
def test_these_are_no_topic_names_and_the_reason_says_why(topic: str, word: str) -> None:
    assert word in str(problem(topic))


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/+/b", "a/#", "+/#", "a"])
def test_these_are_topic_filters(topic_filter: str) -> None:
    assert filter_problem(topic_filter) is None


@pytest.mark.parametrize("topic_filter", ["", "a#", "#/a", "a/#/b", "a+", "a/b+/c", "a\x00"])
def test_these_are_no_topic_filters(topic_filter: str) -> None:
    assert filter_problem(topic_filter)


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("qliksense/erp/reply", None),
        ("qliksense/task/start/reply", None),
        ("qliksense/task/eventual", None),
        ("qliksense/task/start", "listens"),
        ("qliksense/butler/status", "listens"),
        ("qliksense/task/event", "taskEventTopic"),
        ("qliksense/task/event/1", "taskEventTopic"),
        ("elsewhere/reply", "replyTopicAllow"),
        ("$SYS/qliksense", "broker"),
        ("qliksense/+", "wildcards"),
        ("", "empty"),
    ],
)
def test_senders_may_have_replies_only_where_these_can_do_no_harm(topic: str, word: str | None) -> None:
    reason = may_reply(settings.MqttSettings(), topic)
    assert reason is None if word is None else word in str(reason)


def test_the_topic_of_all_replies_needs_no_allowance() -> None:
    mqtt = settings.MqttSettings(reply_topic_allow=("erp/+",), task_start_reply_topic="answers")
    assert may_reply(mqtt, "answers") is None
    assert may_reply(mqtt, "erp/1") is None
    assert may_reply(mqtt, "erp/1/2")


def test_a_reply_must_not_be_a_message_for_a_rule() -> None:
    wide = settings.MqttSettings(reply_topic_allow=("#",), rule_filters=("erp/+/orders",))
    assert may_reply(wide, "erp/1/orders") == "is a topic of a rule"
    assert may_reply(wide, "erp/1/replies") is None


def test_a_wide_allowance_does_not_open_the_broker_topics() -> None:
    assert may_reply(settings.MqttSettings(reply_topic_allow=("#", "$SYS/#")), "$SYS/broker")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "+/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("+/+", "a/#", True),
        ("a/b/#", "a/+/c/d", True),
        ("a/+/c", "a/b/#", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b/c", False),
        ("a/b/#", "a/c/#", False),
        ("+", "a/b", False),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
    ],
)
def test_two_filters_overlap_when_a_topic_matches_both(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@pytest.mark.parametrize(
    ("one", "other", "all_of_it"),
    [
        ("a/#", "a/+", True),
        ("a/+", "a/#", False),
        ("+/+", "+/#", False),
        ("+/#", "+/+", True),
        ("a/#", "a", True),
        ("a", "a/#", False),
        ("#", "+/b", True),
        ("#", "$SYS/#", False),
        ("+/b", "a/+", False),
        ("a/+", "a/b", True),
    ],
)
def test_one_filter_covers_another_only_with_all_below(one: str, other: str, all_of_it: bool) -> None:
    assert covers(one, other) is all_of_it


@given(FILTERS, FILTERS, TOPICS)
def test_a_filter_that_covers_another_matches_all_that_it_does(one: str, other: str, topic: str) -> None:
    if covers(one, other) and matches(other, topic):
        assert matches(one, topic)


@given(FILTERS, FILTERS)
def test_two_filters_that_cover_each_other_are_the_same(one: str, other: str) -> None:
    if covers(one, other) and covers(other, one):
        assert one == other
