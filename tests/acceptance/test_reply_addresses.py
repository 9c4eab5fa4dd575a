"""Where a reply goes, and what it carries."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import EVENTS, REPLY, START, STATUS, Sender
from tests.brokers import Mosquitto
from tests.integration.mqtt.recording import plain_client

FORBIDDEN = {
    "the topic we subscribe to": START,
    "the status topic": STATUS,
    "the event topic": EVENTS,
    "a topic below the event topic": f"{EVENTS}/a8b4c123-def4-5678-9abc-def012345678",
    "outside replyTopicAllow": "factory/reply",
    "a topic of the broker": "$SYS/reply",
}


def test_a_reply_goes_to_the_response_topic_with_the_correlation_data_and_the_request_id(
    place: Place, qlik: Qlik
) -> None:
    task = qlik.task()
    correlation = bytes(range(256))
    topic = place.sender.send({"taskId": task, "requestId": "corr-1"}, CorrelationData=correlation)
    got = place.sender.wait(lambda got: got.topic == topic)
    assert got.correlation == correlation
    assert got.user_properties == (("requestId", "corr-1"),)
    assert (got.qos, got.retain) == (1, False)
    assert got.json["requestId"] == "corr-1"


def test_a_request_without_an_id_gets_one_that_its_reply_carries_twice(sender: Sender) -> None:
    topic = sender.send({"tag": "nobody-has-it"})
    got = sender.wait(lambda got: got.topic == topic)
    assert got.user_properties == (("requestId", got.json["requestId"]),)


def test_a_refusal_carries_the_correlation_data_too(sender: Sender) -> None:
    topic = sender.send(b"{", CorrelationData=b"\x00\x01")
    got = sender.wait(lambda got: got.topic == topic)
    assert got.json["code"] == "invalid_json"
    assert got.correlation == b"\x00\x01"
    assert got.user_properties == (("requestId", got.json["requestId"]),)


def test_a_sender_of_3_1_1_names_its_reply_topic_in_the_request(each: Place) -> None:
    each.sender.publish({"tag": "nobody-has-it", "requestId": "own", "replyTopic": "qliksense/own/topic"})
    got = each.sender.wait(lambda got: got.topic == "qliksense/own/topic")
    assert got.json["requestId"] == "own"


def test_a_response_topic_wins_over_a_reply_topic(sender: Sender) -> None:
    sender.publish(
        {"tag": "nobody-has-it", "replyTopic": "qliksense/loser"}, ResponseTopic="qliksense/winner"
    )
    sender.wait(lambda got: got.topic == "qliksense/winner")
    sender.drain()
    assert sender.heard("qliksense/loser") == []


def test_a_forbidden_response_topic_gives_way_to_an_allowed_reply_topic(sender: Sender) -> None:
    sender.publish({"tag": "nobody-has-it", "replyTopic": "qliksense/second"}, ResponseTopic=START)
    got = sender.wait(lambda got: got.topic == "qliksense/second")
    assert got.json["tasksNotFound"] == [{"tag": "nobody-has-it"}]


@pytest.mark.parametrize("where", FORBIDDEN)
@pytest.mark.parametrize("way", ["Response Topic", "replyTopic"])
def test_a_reply_never_goes_to_a_forbidden_topic_but_to_the_default_one(
    where: str, way: str, sender: Sender
) -> None:
    topic = FORBIDDEN[where]
    identity = f"forbidden-{where}-{way}".replace(" ", "-")
    body = {"requestId": identity, "tag": "nobody-has-it"}
    if way == "replyTopic":
        sender.publish({**body, "replyTopic": topic})
    else:
        sender.publish(body, ResponseTopic=topic, CorrelationData=b"kept")
    got = sender.wait(lambda got: got.topic == REPLY and got.json["requestId"] == identity)
    assert got.json["status"] == "failed"
    assert got.correlation == (b"kept" if way == "Response Topic" else None)
    sender.drain()
    assert [one.topic for one in sender.all() if one.payload == got.payload] == [REPLY]


@pytest.mark.parametrize("topic", ["qliksense/+/reply", "qliksense/#", "qliksense/a\u0000b", "a" * 70000])
def test_a_reply_topic_that_no_message_can_have_is_not_used(topic: str, each: Place) -> None:
    """A wildcard or a control character would make the broker close the connection of all replies."""
    each.sender.publish({"requestId": f"bad-{hash(topic)}", "tag": "nobody-has-it", "replyTopic": topic})
    got = each.sender.wait(lambda got: got.topic == REPLY and got.json["requestId"] == f"bad-{hash(topic)}")
    assert got.json["requestId"] == f"bad-{hash(topic)}"
    each.sender.drain()


def test_every_delivery_gets_one_reply_and_nothing_else_is_published_there(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    topics = [each.sender.send({"taskId": task, "ifRunning": "skip"}) for _ in range(20)]
    for topic in topics:
        each.sender.answer(topic)
    each.sender.drain()
    assert [len(each.sender.heard(topic)) for topic in topics] == [1] * 20


def test_a_byte_order_mark_in_any_property_is_text_and_what_comes_behind_it_arrives(
    broker: Mosquitto, make_daemon: Callable[..., Daemon]
) -> None:
    """MQTT allows U+FEFF (5.0, 1.5.4), and the client library ends the connection on it, at each delivery."""
    daemon = make_daemon(broker).start()
    topic = "qliksense/test/with-\ufeff-in-it"
    body = json.dumps({"requestId": "byte-order-mark", "tag": "nobody-has-it"})
    # A listener of MQTT 3.1.1, since it is delivered the request too.
    with Sender(broker.port, "3.1.1") as listener, plain_client(broker) as sender:
        mark = "\ufeff"
        sender.publish(START, body, ResponseTopic=topic, UserProperty=(mark, mark), ContentType=mark)
        assert listener.wait(lambda got: got.topic == topic).json["requestId"] == "byte-order-mark"
        listener.drain()
    assert daemon.logged("mqtt_lost") == 0
