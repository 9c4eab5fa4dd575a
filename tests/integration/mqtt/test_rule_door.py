"""The connection of rules against mosquitto: each filter with its identifier, on a session of its own."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt import settings
from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.rule_door import RuleDoor
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import VERSIONS, plain_client
from tests.scripted_broker import SUBSCRIBE, Packet, ScriptedBroker


class RuleDoorkeeper:
    """A connection of rules and all it said."""

    def __init__(
        self, mqtt: settings.MqttSettings, *, taken_over: Callable[[], bool] = lambda: False
    ) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self.sessions: list[tuple[int, bool]] = []
        self.answers: list[RuleFilterAnswered] = []
        self.fatal: list[BaseException] = []
        self.door = RuleDoor(
            mqtt,
            on_message=self.arrived,
            on_session=lambda generation, present: self.sessions.append((generation, present)),
            on_read=lambda _generation, _count: None,
            on_answer=self.answers.append,
            on_fatal=self.fatal.append,
            taken_over=taken_over,
            max_backoff_seconds=0.3,
        )

    def arrived(self, message: Message) -> None:
        self.messages.put(message)

    def subscribe(self, wanted: dict[int, str], unwanted: dict[int, str] | None = None) -> None:
        """Wait until the broker has answered everything."""
        self.answers.clear()
        self.door.subscribe(wanted, unwanted or {})
        until(lambda: {one.row for one in self.answers} >= {*wanted, *(unwanted or {})}, what="all answers")

    def take(self) -> Message:
        message = self.messages.get(timeout=60)
        self.door.acknowledge(message.packet_id, message.generation)
        return message


@contextlib.contextmanager
def rule_doorkeeper(
    mqtt: settings.MqttSettings, taken_over: Callable[[], bool] = lambda: False
) -> Iterator[RuleDoorkeeper]:
    """Make a connection of rules that is stopped at the end, however it ended."""
    made = RuleDoorkeeper(mqtt, taken_over=taken_over)
    made.door.start()
    try:
        yield made
    finally:
        made.door.stop()
    assert made.fatal == []


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", persistent=True) as made:
        yield made


def test_without_filters_there_is_no_connection(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper:
        assert keeper.door.connected is None
    assert keeper.sessions == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_names_the_filter_that_it_came_for(broker: Mosquitto, version: str) -> None:
    with rule_doorkeeper(broker.settings(protocol_version=version)) as keeper, plain_client(broker) as sender:
        keeper.subscribe({3: "erp/+/closed", 7: "mes/#"})
        sender.publish("mes/line/1", b"stopped")
        assert keeper.take().filters == (7,)
        sender.publish("erp/4711/closed", b"closed")
        assert keeper.take().filters == (3,)


def test_a_broker_with_a_copy_for_each_filter_says_which_copy_is_for_which(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.subscribe({1: "erp/+", 2: "erp/#"})
        sender.publish("erp/orders", b"closed")
        brought = [keeper.take().filters, keeper.take().filters]
    assert sorted(row for rows in brought if rows for row in rows) == [1, 2]


def test_user_properties_come_with_the_message_in_their_order(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.subscribe({1: "erp/#"})
        sender.publish("erp/orders", b"closed", UserProperty=[("plant", "3"), ("line", "B")])
        assert keeper.take().user_properties == (("plant", "3"), ("line", "B"))


def test_a_change_of_filters_needs_no_reconnect(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.subscribe({1: "erp/#"})
        keeper.subscribe({2: "mes/#"}, {1: "erp/#"})
        assert RuleFilterAnswered(1, subscribed=False) in keeper.answers
        sender.publish("erp/orders", b"closed")
        sender.publish("mes/line", b"stopped")
        assert keeper.take().topic == "mes/line"
    assert len(keeper.sessions) == 1


def test_changes_of_filters_wait_for_no_pause_of_the_network_loop(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper:
        keeper.subscribe({1: "erp/#"})
        began = time.monotonic()
        for row in range(2, 22):
            keeper.subscribe({row: f"erp/{row}"}, {row - 1: f"erp/{row - 1}"})
        # Twenty pauses of half a second would be 10.
        assert time.monotonic() - began < 5


def test_a_filter_whose_identifier_changes_stays_subscribed(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.subscribe({1: "erp/#"})
        keeper.subscribe({2: "erp/#"}, {1: "erp/#"})
        until(lambda: RuleFilterAnswered(2, subscribed=True) in keeper.answers)
        sender.publish("erp/orders", b"closed")
        assert keeper.take().filters == (2,)


def test_the_broker_keeps_messages_and_their_identifiers_while_the_daemon_is_down(broker: Mosquitto) -> None:
    with rule_doorkeeper(broker.settings()) as keeper:
        keeper.subscribe({5: "erp/#"})
    with plain_client(broker) as sender:
        sender.publish("erp/orders", b"closed")
    with rule_doorkeeper(broker.settings()) as keeper:
        keeper.subscribe({6: "erp/orders"}, {5: "erp/#"})
        assert keeper.take().filters == (5,)
    assert keeper.sessions == [(1, True)]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_more_than_the_limit_is_read_ahead_whatever_the_broker_sends(
    broker: Mosquitto, version: str, qos: int
) -> None:
    # mosquitto 2.0 answers each PUBACK with as many messages as the limit allows at all.
    mqtt = broker.settings(protocol_version=version, receive_maximum=10)
    with rule_doorkeeper(mqtt) as keeper, plain_client(broker) as sender:
        keeper.subscribe({1: "erp/#"})
        for number in range(300):
            sender.publish("erp/orders", str(number).encode(), qos=qos)
        ahead: list[int] = []
        for number in range(300):
            assert keeper.take().payload == str(number).encode()
            ahead.append(keeper.messages.qsize())
    assert max(ahead) <= 10


def test_a_filter_that_is_refused_is_named_and_the_others_work(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "strict", refused_subscriptions=("secret/#",)) as broker,
        rule_doorkeeper(broker.settings()) as keeper,
        plain_client(broker) as sender,
    ):
        keeper.subscribe({1: "secret/#", 2: "erp/#"})
        sender.publish("erp/orders", b"closed")
        assert keeper.take().filters == (2,)
    refused = next(one for one in keeper.answers if one.row == 1)
    assert not refused.subscribed
    assert "secret/#" in (refused.problem or "")
    assert "ACL" in (refused.problem or "")


def test_messages_belong_to_the_other_daemon_while_that_has_our_client_id(broker: Mosquitto) -> None:
    elsewhere, asked = [False], []

    def taken_over() -> bool:
        asked.append(elsewhere[0])
        return elsewhere[0]

    with (
        rule_doorkeeper(broker.settings(), taken_over=taken_over) as keeper,
        plain_client(broker) as sender,
    ):
        keeper.subscribe({1: "erp/#"})
        elsewhere[0] = True
        sender.publish("erp/orders", b"lost")
        sender.publish("erp/orders", b"lost too")
        until(lambda: asked == [True, True], what="both have come")
        elsewhere[0] = False
        sender.publish("erp/orders", b"ours")
        assert keeper.take().payload == b"ours"


def test_each_filter_has_a_subscribe_of_its_own() -> None:
    with ScriptedBroker() as broker, rule_doorkeeper(broker.settings()) as keeper:
        keeper.subscribe({1: "erp/#", 2: "mes/#"})
        assert [packet.topics for packet in broker.seen(SUBSCRIBE)] == [("erp/#",), ("mes/#",)]


def test_without_identifiers_filters_that_overlap_are_not_subscribed_to() -> None:
    with (
        ScriptedBroker(connack_properties=b"\x29\x00") as broker,
        rule_doorkeeper(broker.settings()) as keeper,
    ):
        keeper.subscribe({1: "erp/#", 2: "erp/orders", 3: "mes/#"})
    assert [packet.topics for packet in broker.seen(SUBSCRIBE)] == [("erp/#",), ("mes/#",)]
    problem = next(one.problem for one in keeper.answers if one.row == 2)
    assert "overlaps with erp/#" in (problem or "")


def test_a_broker_that_closes_the_connection_on_a_filter_gets_the_others() -> None:
    def dislikes(packet: Packet) -> bool:
        return packet.kind == SUBSCRIBE and "erp/#" in packet.topics

    with ScriptedBroker(hangs_up_on=dislikes) as broker, rule_doorkeeper(broker.settings()) as keeper:
        keeper.subscribe({1: "erp/#", 2: "mes/#"})
    assert "closes the connection" in (next(one.problem for one in keeper.answers if one.row == 1) or "")
