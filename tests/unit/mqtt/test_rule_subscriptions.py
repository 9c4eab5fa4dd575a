"""Filters of rules are subscribed to, each with a packet and an answer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.mqtt.rule_subscriptions import (
    ANSWER_SECONDS,
    AT_ONCE,
    HANGUPS,
    RETRY_SECONDS,
    RuleSubscriptions,
)
from butler_mqtt.settings import MqttSettings


class Client:
    """The two calls of a client that subscriptions make; packets are numbered from 1."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def subscribe(self, topic_filter: str, **_options: Any) -> tuple[int, int]:
        self.sent.append(topic_filter)
        return 0, len(self.sent)

    def unsubscribe(self, topic_filter: str, **_options: Any) -> tuple[int, int]:
        self.sent.append(f"not {topic_filter}")
        return 0, len(self.sent)


class Rig:
    """Subscriptions on one connection, with a clock of the test."""

    def __init__(
        self,
        wanted: Mapping[int, str],
        unwanted: Mapping[int, str] | None = None,
        *,
        identifiers: bool = True,
    ) -> None:
        self.now = 0.0
        self.client = Client()
        self.answers: list[RuleFilterAnswered] = []
        self.subscriptions = RuleSubscriptions(
            MqttSettings(), self.answers.append, monotonic=lambda: self.now
        )
        self.subscriptions.want(wanted, unwanted or {})
        self.subscriptions.accepted(with_identifiers=identifiers)

    def turn(self) -> None:
        self.subscriptions.turned(cast("paho.Client", self.client))

    def answer(self, code: int, packet_id: int | None = None) -> None:
        """Answer a SUBSCRIBE, by default the last."""
        reason = ReasonCode(PacketTypes.SUBACK, identifier=code)
        self.subscriptions.subscribed(packet_id or len(self.client.sent), [reason])

    def hang_up(self) -> None:
        self.subscriptions.ended(hung_up=True)
        self.subscriptions.accepted(with_identifiers=True)


def test_no_filter_waits_for_the_answer_to_the_one_before() -> None:
    rig = Rig({1: "a", 2: "b"})
    rig.turn()
    rig.turn()
    assert rig.client.sent == ["a", "b"]
    rig.answer(1, 2)
    rig.answer(1, 1)
    rig.turn()
    assert rig.client.sent == ["a", "b"]
    assert [one.row for one in rig.answers] == [2, 1]


def test_many_filters_are_not_all_on_their_way_at_once() -> None:
    rig = Rig({number: f"f{number:03}" for number in range(1, AT_ONCE + 3)})
    rig.turn()
    assert len(rig.client.sent) == AT_ONCE
    rig.answer(1, 1)
    rig.turn()
    assert rig.client.sent[AT_ONCE:] == [f"f{AT_ONCE + 1:03}"]


def test_the_time_for_an_answer_begins_again_with_each() -> None:
    rig = Rig({1: "a", 2: "b"})
    rig.turn()
    rig.now = ANSWER_SECONDS
    rig.answer(1, 1)
    rig.now += ANSWER_SECONDS
    assert not rig.subscriptions.overdue
    rig.now += 0.1
    assert rig.subscriptions.overdue


def test_after_a_hangup_on_several_the_next_filter_waits_until_all_are_answered() -> None:
    rig = Rig({1: "a", 2: "b"})
    rig.turn()
    rig.hang_up()
    rig.turn()
    assert rig.client.sent[2:] == ["a"]
    rig.answer(1)
    rig.turn()
    assert rig.client.sent[2:] == ["a", "b"]
    rig.answer(1)
    rig.turn()
    rig.hang_up()
    rig.turn()
    assert rig.client.sent[4:] == ["a", "b"]


def test_an_answer_to_another_packet_is_none() -> None:
    rig = Rig({1: "a"})
    rig.turn()
    rig.subscriptions.subscribed(7, [ReasonCode(PacketTypes.SUBACK, identifier=1)])
    assert rig.answers == []
    rig.now = ANSWER_SECONDS
    assert not rig.subscriptions.overdue
    rig.now += 0.1
    assert rig.subscriptions.overdue


def test_a_filter_that_is_refused_is_named_and_tried_again_later() -> None:
    rig = Rig({1: "a"})
    rig.turn()
    rig.answer(0x87)
    assert "the broker's ACL must let" in str(rig.answers[0].problem)
    rig.now = RETRY_SECONDS - 1
    rig.turn()
    assert rig.client.sent == ["a"]
    rig.now = RETRY_SECONDS
    rig.turn()
    assert rig.client.sent == ["a", "a"]


def test_a_lower_quality_of_service_is_a_problem_of_a_filter_that_is_subscribed_to() -> None:
    rig = Rig({1: "a"})
    rig.turn()
    rig.answer(0)
    assert rig.answers == [
        RuleFilterAnswered(1, subscribed=True, problem="a was granted with QoS 0 instead of 1")
    ]


def test_a_filter_on_which_the_broker_hangs_up_each_time_is_left_out() -> None:
    rig = Rig({1: "a", 2: "b"})
    rig.turn()
    assert rig.client.sent == ["a", "b"]
    for _ in range(HANGUPS):
        rig.hang_up()
        rig.turn()
    rig.hang_up()
    rig.turn()
    assert rig.client.sent[2:] == ["a"] * HANGUPS + ["b"]
    assert rig.answers[0].problem == "the broker closes the connection on SUBSCRIBE to a"


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("a/#", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("$SYS/broker/load", "+/broker/load", False),
        ("$SYS/#", "#", False),
    ],
)
def test_without_identifiers_filters_that_overlap_are_not_both_subscribed_to(
    one: str, other: str, overlaps: bool
) -> None:
    rig = Rig({1: one, 2: other}, identifiers=False)
    rig.turn()
    rig.answer(1)
    rig.turn()
    assert rig.client.sent == ([one] if overlaps else [one, other])


def test_a_filter_is_unsubscribed_from_before_others_are_subscribed_to() -> None:
    rig = Rig({2: "b"}, {1: "a"})
    rig.turn()
    assert rig.client.sent == ["not a", "b"]


def test_a_filter_that_is_wanted_under_another_number_stays() -> None:
    rig = Rig({2: "a"}, {1: "a"})
    rig.turn()
    assert rig.client.sent == ["a"]
    assert rig.answers == [RuleFilterAnswered(1, subscribed=False)]


def test_what_a_message_came_for_is_what_it_names_else_what_its_topic_matches() -> None:
    rig = Rig({1: "a/+", 2: "a/b"}, {3: "c"})
    assert rig.subscriptions.brought((2,), "a/b") == (2,)
    assert rig.subscriptions.brought((), "a/b") == (1, 2)
    assert rig.subscriptions.brought((), "c") == ()
    rig.subscriptions.accepted(with_identifiers=False)
    assert rig.subscriptions.brought((), "a/b") == (1,)
