"""A topic that was allowed when a request came and is one of ours when its messages are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.journal import tables
from butler_mqtt.settings import MqttSettings, Settings
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness

ERP = "qliksense/erp"
DEFAULT = MqttSettings().task_start_reply_topic
OURS = {
    "a sender's": MqttSettings(sender_topics=(ERP,)),
    "a rule's": MqttSettings(rule_filters=("qliksense/+",)),
}


def reload(harness: Harness, mqtt: MqttSettings) -> None:
    """Use these topics from now on."""
    harness.settings = replace(harness.settings, mqtt=mqtt)
    harness.pipeline.emit(Reconfigured(harness.settings))


def last_topic(harness: Harness) -> str:
    return harness.broker.published[-1].topic


@pytest.fixture(params=OURS)
def mqtt(request: pytest.FixtureRequest) -> MqttSettings:
    """Settings of which one more topic is subscribed to."""
    return OURS[request.param]


def test_an_open_request_is_answered_on_the_common_topic(harness: Harness, mqtt: MqttSettings) -> None:
    harness.site.down = True
    harness.send({"tag": "nobody-has-it", "requestId": "r1"}, response_topic=ERP, correlation=b"\x01")
    harness.step()
    reload(harness, mqtt)
    harness.site.down = False
    harness.replied()
    sent = harness.broker.published[-1]
    assert (sent.topic, sent.correlation, sent.request_id) == (DEFAULT, b"\x01", "r1")


def test_the_audit_tells_where_the_reply_went(harness: Harness, mqtt: MqttSettings) -> None:
    harness.broker.room = 0
    harness.send({"taskId": "abc"}, response_topic=ERP)
    harness.until(lambda: harness.rows(tables.outbox))
    reload(harness, mqtt)
    harness.broker.room = 1
    harness.replied()
    harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))
    assert [row["reply_topic"] for row in harness.rows(tables.deliveries)] == [DEFAULT]


@pytest.mark.parametrize("event", ["connection lost", "refused for now", "restart"])
def test_a_reply_that_is_sent_once_more_goes_to_the_common_topic(
    harness: Harness, mqtt: MqttSettings, event: str
) -> None:
    happens: dict[str, Callable[[], None]] = {
        "connection lost": harness.broker.lose,
        "refused for now": lambda: harness.broker.refuse(harness.broker.published[-1].id),
        "restart": harness.restart,
    }
    harness.ask({"taskId": "abc"}, response_topic=ERP)
    assert last_topic(harness) == ERP
    reload(harness, mqtt)
    happens[event]()
    harness.replied(2)
    assert last_topic(harness) == DEFAULT


def test_it_goes_where_it_was_wanted_when_that_is_allowed_again(harness: Harness, mqtt: MqttSettings) -> None:
    harness.broker.room = 0
    harness.send({"taskId": "abc"}, response_topic=ERP)
    harness.until(lambda: harness.rows(tables.outbox))
    reload(harness, mqtt)
    harness.step()
    reload(harness, MqttSettings())
    harness.broker.room = 1
    harness.replied()
    assert last_topic(harness) == ERP


def test_nothing_is_published_there_from_the_moment_of_the_reload(
    harness: Harness, mqtt: MqttSettings
) -> None:
    harness.broker.room = 0
    harness.send({"taskId": "abc"}, response_topic=ERP)
    harness.until(lambda: harness.rows(tables.outbox))
    # Whatever the loop is at: the topic may be subscribed to before the event has its turn.
    harness.pipeline.turns.carry_out([])
    reload(harness, mqtt)
    harness.broker.room = 1
    harness.pipeline.turns.carry_out([])
    assert last_topic(harness) == DEFAULT


def test_an_event_that_would_come_back_to_us_is_a_dead_letter(make_harness: MakeHarness) -> None:
    # Of before a restart with another taskEventTopic.
    harness = make_harness(Settings(mqtt=MqttSettings(task_event_topic="qliksense/old")))
    harness.site.add("Sales")
    harness.broker.room = 0
    harness.send({"taskName": "Sales"})
    harness.until(lambda: [row for row in harness.rows(tables.outbox) if row["kind"] == "event"])
    harness.settings = Settings(mqtt=MqttSettings(rule_filters=("qliksense/old/#",)))
    harness.broker.room = 10
    harness.restart()
    harness.until(lambda: [row for row in harness.rows(tables.outbox) if row["quarantined_at"] is not None])
    assert harness.broker.events == []
    (row,) = [row for row in harness.rows(tables.outbox) if row["kind"] == "event"][:1]
    assert "topic of a rule" in row["reason"]
