"""Publishing against a real mosquitto: confirmed, refused, lost, or not even tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt import settings
from tests.brokers import Mosquitto, free_port, until
from tests.integration.mqtt.recording import VERSIONS, plain_client, publisher

REPLY = "qliksense/task/start/reply"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as made:
        yield made


def properties(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.properties.json()
    return found


def test_a_reply_carries_correlation_data_and_request_id(broker: Mosquitto) -> None:
    with plain_client(broker, REPLY) as requester, publisher(broker.settings()) as sender:
        sender.open()
        assert sender.publish(7, payload=b'{"status":"ok"}', request_id="erp-1", correlation=b"\x00\xff")
        message = requester.take()
        until(lambda: sender.confirmed == [7])
    assert (message.payload, message.qos, message.retain) == (b'{"status":"ok"}', 1, False)
    assert properties(message) == {"CorrelationData": "00ff", "UserProperty": [("requestId", "erp-1")]}


def test_a_reply_without_correlation_data_has_none(broker: Mosquitto) -> None:
    with plain_client(broker, REPLY) as requester, publisher(broker.settings()) as sender:
        sender.open().publish(1, request_id="r")
        assert properties(requester.take()) == {"UserProperty": [("requestId", "r")]}


def test_replies_on_mqtt_3_have_no_properties(broker: Mosquitto) -> None:
    with (
        plain_client(broker, REPLY) as requester,
        publisher(broker.settings(protocol_version="3.1.1")) as sender,
    ):
        sender.open().publish(1, correlation=b"x")
        assert properties(requester.take()) == {}
        until(lambda: sender.confirmed == [1])


def test_nobody_listening_still_counts_as_delivered(broker: Mosquitto) -> None:
    with publisher(broker.settings()) as sender:
        sender.open().publish(1, "qliksense/nobody")
        until(lambda: sender.confirmed == [1])
    assert sender.refused == []


def test_replies_arrive_in_the_order_published(broker: Mosquitto) -> None:
    with plain_client(broker, REPLY) as requester, publisher(broker.settings()) as sender:
        sender.open()
        for number in range(500):
            until(lambda number=number: sender.publish(number, payload=str(number).encode()))  # type: ignore[misc] # mypy infers no default arguments of a lambda
        assert [int(requester.take().payload) for _ in range(500)] == list(range(500))
        until(lambda: sender.confirmed == list(range(500)))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_on_its_way_when_the_broker_froze_and_died_is_reported_lost(
    broker: Mosquitto, version: str
) -> None:
    with publisher(broker.settings(protocol_version=version)) as sender:
        sender.open()
        broker.freeze()
        assert all(sender.publish(number) for number in range(5))
        broker.kill()
        until(lambda: sender.lost == [0, 1, 2, 3, 4], what="lost")
        assert not sender.publish(5)
        broker.start()
        until(lambda: sender.replies.connected, what="connected again")
        assert (sender.confirmed, sender.refused) == ([], [])
        # Published again by their owner, not by the library behind its back.
        with plain_client(broker, REPLY) as requester:
            assert sender.publish(5, payload=b"after")
            assert requester.take().payload == b"after"


def test_no_more_is_on_its_way_than_the_broker_allows(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "narrow", extra="max_inflight_messages 3") as broker,
        publisher(broker.settings()) as sender,
    ):
        sender.open()
        sender.rooms.get(timeout=10)
        broker.freeze()
        assert [sender.publish(number) for number in range(5)] == [True, True, True, False, False]
        broker.thaw()
        sender.rooms.get(timeout=10)
        until(lambda: sender.confirmed == [0, 1, 2])
        assert sender.publish(3)


def test_a_topic_that_may_not_be_written_is_refused_and_may_be_tried_again(tmp_path: Path) -> None:
    acl = f"topic readwrite #\ntopic deny {REPLY}\n"
    with Mosquitto(tmp_path / "strict", acl=acl) as broker, publisher(broker.settings()) as sender:
        sender.open()
        assert sender.publish(1)
        until(lambda: sender.refused == [(1, "0x87 Not authorized", False)])
        assert sender.publish(2, "qliksense/allowed")
        until(lambda: sender.confirmed == [2])


def test_a_reply_larger_than_the_broker_takes_is_refused_for_good(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "small", extra="max_packet_size 1000") as broker,
        publisher(broker.settings()) as sender,
    ):
        sender.open()
        assert sender.publish(1, payload=b"x" * 1000)
        assert sender.refused == [(1, "the packet has 1051 bytes, the broker takes at most 1000", True)]
        assert sender.publish(2, payload=b"x" * 949)
        until(lambda: sender.confirmed == [2], what="a packet of exactly 1000 bytes is taken")


@pytest.mark.parametrize("topic", ["a/+", "a/#", "x" * 70_000, "\ud800"])
def test_a_topic_nobody_can_publish_to_is_refused_for_good(broker: Mosquitto, topic: str) -> None:
    with publisher(broker.settings()) as sender:
        sender.open()
        assert sender.publish(1, topic)
        assert [(number, final) for number, _, final in sender.refused] == [(1, True)]
        assert sender.publish(2)
        until(lambda: sender.confirmed == [2])


def test_nothing_is_queued_while_not_connected() -> None:
    with publisher(settings.MqttSettings(broker_host="127.0.0.1", broker_port=free_port())) as sender:
        assert not sender.publish(1)
        sender.replies.start()
        assert not sender.publish(1)
    assert (sender.confirmed, sender.refused, sender.lost) == ([], [], [])


def test_two_processes_have_different_reply_client_ids(broker: Mosquitto) -> None:
    with publisher(broker.settings()) as first, publisher(broker.settings()) as second:
        first.open()
        second.open()
        for number, sender in enumerate((first, second, first)):
            assert sender.publish(number)
        until(lambda: first.confirmed == [0, 2] and second.confirmed == [1])
