"""The door against a real mosquitto: arrival, acknowledgement, the session, the status."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.door_state import DoorState
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import VERSIONS, Doorkeeper, doorkeeper, plain_client

TOPIC = "qliksense/task/start"
STATUS = "qliksense/butler/status"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", persistent=True) as made:
        yield made


def nothing_more(messages: queue.Queue[Message]) -> bool:
    """Return whether nothing comes for a moment: the one wait for something not to happen."""
    try:
        messages.get(timeout=0.3)
    except queue.Empty:
        return True
    return False


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_published_while_connected_arrives(broker: Mosquitto, version: str) -> None:
    with doorkeeper(broker.settings(protocol_version=version)) as keeper, plain_client(broker) as sender:
        keeper.open()
        sender.publish(TOPIC, b"\xff\x00body")
        message = keeper.take()
    assert (message.topic, message.payload, message.generation) == (TOPIC, b"\xff\x00body", 1)
    assert message.packet_id > 0
    assert (message.dup, message.retain, message.properties) == (False, False, "")


def test_the_properties_of_a_request_arrive(broker: Mosquitto) -> None:
    with doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.open()
        sender.publish(
            TOPIC,
            "{}",
            ResponseTopic="qliksense/erp",
            CorrelationData=b"\x01\xff",
            MessageExpiryInterval=60,
            UserProperty=("origin", "erp"),
        )
        message = keeper.take()
    assert (message.response_topic, message.correlation) == ("qliksense/erp", b"\x01\xff")
    assert message.expiry_seconds is not None
    assert 55 <= message.expiry_seconds <= 60
    assert "origin" in message.properties
    assert "Expiry" not in message.properties


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_published_while_away_arrive_later_and_in_order(broker: Mosquitto, version: str) -> None:
    mqtt = broker.settings(protocol_version=version)
    with doorkeeper(mqtt) as first:
        first.open()
    with plain_client(broker) as sender:
        for number in range(5):
            sender.publish(TOPIC, str(number))
    with doorkeeper(mqtt) as second:
        second.open()
        assert [second.take().payload for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert (first.sessions, second.sessions) == ([(1, False)], [(1, True)])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_not_acknowledged_comes_again_after_the_broker_was_killed(
    broker: Mosquitto, version: str
) -> None:
    with doorkeeper(broker.settings(protocol_version=version)) as keeper:
        keeper.open()
        with plain_client(broker) as sender:
            sender.publish(TOPIC, "{}")
            first = keeper.take()
            saved = broker.saves()
            # mosquitto writes its store only when more than `autosave_interval` things have changed.
            for _ in range(8):
                sender.publish("elsewhere", "{}", retain=True)
        until(lambda: broker.saves() > saved + 1, what="saved, at least the first time wholly")
        broker.kill()
        until(lambda: not keeper.door.ready, what="loss noticed")
        broker.start()
        again = keeper.take(30)
        keeper.wait_ready()
        assert (again.payload, again.dup, again.packet_id) == (first.payload, True, first.packet_id)
        assert (first.generation, again.generation) == (1, 2)
        assert keeper.sessions == [(1, False), (2, True)]
        assert keeper.states == [DoorState.READY, DoorState.CONNECTING, DoorState.READY]


def test_without_its_session_the_door_subscribes_anew(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "forgetful") as broker, doorkeeper(broker.settings()) as keeper:
        keeper.open()
        broker.kill()
        until(lambda: not keeper.door.ready, what="loss noticed")
        broker.start()
        keeper.wait_ready()
        with plain_client(broker) as sender:
            sender.publish(TOPIC, "{}")
        assert keeper.take().generation == 2
        assert keeper.sessions == [(1, False), (2, False)]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_acknowledgement_of_an_earlier_connection_is_dropped(broker: Mosquitto, version: str) -> None:
    mqtt = broker.settings(protocol_version=version)
    with doorkeeper(mqtt) as first, plain_client(broker) as sender:
        first.open()
        sender.publish(TOPIC, "{}")
        message = first.take()
        assert message.generation == 1
        first.door.acknowledge(message.packet_id, 0)
        first.door.acknowledge(message.packet_id, 2)
        first.door.acknowledge(0, 1)
    with doorkeeper(mqtt) as second:
        second.open()
        assert second.take().payload == message.payload
        second.acknowledge(message)
    with doorkeeper(mqtt) as third:
        third.open()
        assert nothing_more(third.messages)


def test_no_more_requests_come_than_receive_maximum_until_one_is_acknowledged(broker: Mosquitto) -> None:
    with doorkeeper(broker.settings(receive_maximum=3)) as keeper, plain_client(broker) as sender:
        keeper.open()
        for number in range(5):
            sender.publish(TOPIC, str(number))
        held = [keeper.take() for _ in range(3)]
        assert nothing_more(keeper.messages)
        keeper.acknowledge(held[0])
        assert keeper.take().payload == b"3"
        keeper.acknowledge(held[1])
        assert keeper.take().payload == b"4"


def test_a_sender_may_use_qos_0(broker: Mosquitto) -> None:
    with doorkeeper(broker.settings()) as keeper, plain_client(broker) as sender:
        keeper.open()
        sender.publish(TOPIC, "{}", qos=0)
        assert keeper.take().packet_id == 0


def test_a_stored_retained_request_is_not_sent_on_mqtt_5(broker: Mosquitto) -> None:
    with plain_client(broker) as sender, doorkeeper(broker.settings()) as keeper:
        sender.publish(TOPIC, "stored", retain=True)
        keeper.open()
        sender.publish(TOPIC, "live", retain=True)
        message = keeper.take()
        assert (message.payload, message.retain) == (b"live", False)


def test_a_stored_retained_request_shows_its_flag_on_mqtt_3(broker: Mosquitto) -> None:
    with plain_client(broker) as sender, doorkeeper(broker.settings(protocol_version="3.1.1")) as keeper:
        sender.publish(TOPIC, "stored", retain=True)
        keeper.open()
        assert keeper.take().retain
        sender.publish(TOPIC, "live", retain=True)
        assert not keeper.take().retain


@pytest.mark.parametrize("version", VERSIONS)
def test_the_status_says_online_and_after_a_clean_stop_offline(broker: Mosquitto, version: str) -> None:
    with plain_client(broker, STATUS) as observer:
        with doorkeeper(broker.settings(protocol_version=version)) as keeper:
            keeper.open()
            online = json.loads(observer.take().payload)
        offline = json.loads(observer.take().payload)
        assert keeper.messages.empty()
    assert keeper.states == [DoorState.READY, DoorState.STOPPED]
    assert set(online) == {"status", "instance", "startedAt", "version"}
    assert (online["status"], online["instance"], online["version"]) == (
        "online",
        keeper.door.instance,
        "1.2.3",
    )
    assert offline == {**online, "status": "offline"}
    with plain_client(broker, STATUS) as latecomer:
        retained = latecomer.take()
        assert (retained.retain, json.loads(retained.payload)) == (True, offline)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_status_says_when_the_qlik_server_is_unreachable_and_when_it_is_back(
    broker: Mosquitto, version: str
) -> None:
    away = threading.Event()
    mqtt = broker.settings(protocol_version=version)
    with plain_client(broker, STATUS) as observer:
        with doorkeeper(mqtt, qrs_unreachable=away.is_set) as keeper:
            keeper.open()
            online = json.loads(observer.take().payload)
            away.set()
            assert json.loads(observer.take().payload) == {**online, "qrs": "unreachable"}
            with plain_client(broker, STATUS) as latecomer:
                assert json.loads(latecomer.take().payload)["qrs"] == "unreachable"
            away.clear()
            assert json.loads(observer.take().payload) == {**online, "qrs": "reachable"}
        assert json.loads(observer.take().payload) == {**online, "status": "offline"}
        assert "qrs" not in online


def test_a_broker_without_retained_messages_still_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Mosquitto(tmp_path / "plain", extra="retain_available false") as broker,
        plain_client(broker, STATUS) as observer,
        doorkeeper(broker.settings()) as keeper,
    ):
        keeper.open()
        assert json.loads(observer.take().payload)["status"] == "online"
    assert "mqtt_limits" in {getattr(record, "action", "") for record in caplog.records}


class Clumsy(Doorkeeper):
    """Fails at the first message."""

    def arrived(self, message: Message) -> None:
        super().arrived(message)
        if message.payload == b"first":
            raise ZeroDivisionError


def test_an_exception_in_a_callback_is_logged_and_the_connection_goes_on(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Clumsy(broker.settings()).open()
    with plain_client(broker) as sender:
        sender.publish(TOPIC, "first")
        sender.publish(TOPIC, "second")
        assert [keeper.take().payload, keeper.take().payload] == [b"first", b"second"]
    keeper.door.stop()
    assert (len(keeper.sessions), keeper.fatal) == (1, [])
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


def test_stopping_twice_or_before_the_start_is_harmless(broker: Mosquitto) -> None:
    never = Doorkeeper(broker.settings())
    never.door.stop()
    never.door.acknowledge(1, 1)
    keeper = Doorkeeper(broker.settings()).open()
    keeper.door.stop()
    keeper.door.stop()
    assert keeper.states == [DoorState.READY, DoorState.STOPPED]
    assert not keeper.door.alive


def test_the_network_thread_shows_progress_while_nothing_happens(broker: Mosquitto) -> None:
    with doorkeeper(broker.settings()) as keeper:
        keeper.open()
        seen = keeper.door.progress()
        until(lambda: keeper.door.progress() > seen, seconds=3, what="progress")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_burst_acknowledged_from_another_thread_does_not_come_again(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path / "burst", extra="max_queued_messages 0") as broker:
        mqtt = broker.settings(protocol_version=version)
        with doorkeeper(mqtt) as first, plain_client(broker) as sender:
            first.open()
            for number in range(500):
                sender.publish(TOPIC, str(number))
            for number in range(500):
                message = first.take()
                assert message.payload == str(number).encode()
                first.acknowledge(message)
        with doorkeeper(mqtt) as second:
            second.open()
            assert nothing_more(second.messages)


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_arrive_on_the_topics_of_senders_and_on_others_after_a_change(
    broker: Mosquitto, version: str
) -> None:
    mqtt = broker.settings(protocol_version=version, sender_topics=("start/erp", "start/crm"))
    with doorkeeper(mqtt) as keeper, plain_client(broker) as sender:
        keeper.open()
        sender.publish("start/erp", b"1")
        sender.publish("start/crm", b"2")
        assert [keeper.take().payload for _ in range(2)] == [b"1", b"2"]
        keeper.door.reconfigured(replace(mqtt, sender_topics=("start/crm", "start/new")))
        until(lambda: "start/new (QoS 1)" in broker.log(), what="the new topic is subscribed to")
        until(lambda: "Received UNSUBSCRIBE" in broker.log(), what="the old topic is unsubscribed")
        sender.publish("start/erp", b"3")
        sender.publish("start/new", b"4")
        sender.publish("start/crm", b"5")
        assert [keeper.take().payload for _ in range(2)] == [b"4", b"5"]
        assert keeper.states == [DoorState.READY]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_topic_that_was_removed_while_the_daemon_was_down_is_unsubscribed_with_its_first_message(
    broker: Mosquitto, version: str
) -> None:
    mqtt = broker.settings(protocol_version=version, sender_topics=("start/erp",))
    with doorkeeper(mqtt) as before:
        before.open()
    with doorkeeper(replace(mqtt, sender_topics=())) as keeper, plain_client(broker) as sender:
        keeper.open()
        sender.publish("start/erp", b"1")
        sender.publish("start/erp", b"2")
        until(lambda: "Received UNSUBSCRIBE" in broker.log(), what="UNSUBSCRIBE")
        # Whoever sent it is told that it is too late.
        assert keeper.take().payload == b"1"
        sender.publish(TOPIC, b"3")
        while keeper.take().payload != b"3":
            pass
        sender.publish("start/erp", b"4")
        sender.publish(TOPIC, b"5")
        assert keeper.take().payload == b"5"
        assert broker.log().count("Received UNSUBSCRIBE") == 1


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_no_more_than_the_limit_is_read_ahead_whatever_the_broker_sends(
    broker: Mosquitto, version: str, qos: int
) -> None:
    # mosquitto 2.0 answers each PUBACK with as many messages as the limit allows at all.
    mqtt = broker.settings(protocol_version=version, receive_maximum=10)
    with doorkeeper(mqtt) as keeper, plain_client(broker) as sender:
        keeper.open()
        for number in range(300):
            sender.publish(TOPIC, str(number), qos=qos)
        ahead: list[int] = []
        for number in range(300):
            message = keeper.take()
            assert message.payload == str(number).encode()
            keeper.acknowledge(message)
            ahead.append(keeper.messages.qsize())
    assert max(ahead) <= 10


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_in_flight_beyond_the_limit_keep_no_connection_from_being_ready(
    broker: Mosquitto, version: str
) -> None:
    # At a new connection mosquitto sends all of them again, and answers SUBSCRIBE after them.
    mqtt = broker.settings(protocol_version=version, receive_maximum=10)
    with doorkeeper(mqtt) as first:
        first.open()
    with plain_client(broker) as sender:
        for number in range(100):
            sender.publish(TOPIC, str(number))
    with doorkeeper(mqtt) as second:
        second.open()
        for _ in range(10):
            second.acknowledge(second.take())
        until(lambda: second.messages.qsize() == 10, what="as many as may be in hand")
    with doorkeeper(mqtt) as third:
        third.open()
        assert third.messages.qsize() <= 10
        taken = [third.take() for _ in range(10)]
        for message in taken:
            third.acknowledge(message)
        numbers = [int(message.payload) for message in taken]
        assert numbers == list(range(numbers[0], numbers[0] + 10))
