"""Rules from end to end: a foreign message becomes a start, once, whatever is killed in between."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.acceptance import killing
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.brokers import Mosquitto, until

#: In place of those that tests share.
relay, sender = killing.relay, killing.sender

COALESCE = {"quietSeconds": 2, "maxSeconds": 60, "key": "payload.company"}


def ruled(daemon: Daemon, *rules: dict[str, Any]) -> Daemon:
    """Write the rules into the configuration of *daemon*."""
    daemon.config["rules"] = list(rules)  # type: ignore[assignment] # a list, where others are sections
    daemon.configure()
    return daemon


def orders(task: str, **fields: Any) -> dict[str, Any]:
    """Return a rule that starts *task* for large orders."""
    return {
        "name": "orders",
        "topic": "erp/+/orders",
        "when": "payload.total > 100",
        "start": {"taskId": task},
        **fields,
    }


@pytest.fixture
def task(qlik: Qlik) -> str:
    return qlik.task()


@pytest.fixture
def daemon(make_daemon: killing.MakeDaemon, relay: Relay, task: str) -> Daemon:
    made = ruled(make_daemon(relay.port), orders(task)).start()
    made.wait_log("subscribed to erp/+/orders")
    return made


def publish(sender: Sender, total: int, **fields: Any) -> None:
    sender.publish({"total": total, **fields}, topic="erp/berlin/orders")


def replies(sender: Sender, task: str) -> list[Any]:
    """Return the replies about a task on the topic of replies."""
    return [got.json for got in sender.heard(REPLY) if task.encode() in got.payload]


def test_a_message_that_matches_starts_its_task_and_another_does_not(
    daemon: Daemon, sender: Sender, qlik: Qlik, task: str
) -> None:
    publish(sender, 99)
    publish(sender, 101)
    until(lambda: replies(sender, task), what="a reply")
    assert [reply["rule"] for reply in replies(sender, task)] == ["orders"]
    assert qlik.posts(task) == 1
    counts = "SELECT started, unmatched FROM rule_counts"
    assert daemon.wait_row(counts) == (1, 1)


def test_killed_before_the_acknowledgement_it_starts_once(
    daemon: Daemon, sender: Sender, relay: Relay, qlik: Qlik, task: str
) -> None:
    relay.hold_up()
    publish(sender, 101)
    daemon.wait_row("SELECT id FROM requests")
    daemon.kill()
    relay.cut()
    relay.flow()
    daemon.start()
    daemon.wait_log("it was judged before")
    until(lambda: replies(sender, task), what="a reply")
    sender.drain()
    assert (len(replies(sender, task)), qlik.posts(task)) == (1, 1)


def test_messages_published_while_the_daemon_is_down_are_judged_afterwards(
    daemon: Daemon, sender: Sender, qlik: Qlik, task: str
) -> None:
    daemon.kill()
    publish(sender, 101)
    daemon.start()
    until(lambda: replies(sender, task), what="a reply")
    assert qlik.posts(task) == 1


def test_a_window_that_was_open_when_the_daemon_was_killed_becomes_one_start_a_key(
    daemon: Daemon, sender: Sender, qlik: Qlik, task: str
) -> None:
    daemon.kill()
    started = {"taskId": task, "requestId": "${{ payload.company }}-${{ count }}"}
    ruled(daemon, orders(task, start=started, coalesce=COALESCE)).start()
    for company in ("a", "b", "a"):
        publish(sender, 101, company=company)
    daemon.wait_row("SELECT n FROM (SELECT sum(count) AS n FROM rule_windows) WHERE n = 3")
    daemon.kill()
    daemon.start()
    until(lambda: len(replies(sender, task)) == 2, what="a reply for each company")
    assert {reply["requestId"] for reply in replies(sender, task)} == {"a-2", "b-1"}


def test_a_reload_changes_rules_and_subscriptions_without_a_reconnect(
    daemon: Daemon, broker: Mosquitto, sender: Sender, qlik: Qlik, task: str
) -> None:
    other = qlik.task()
    ruled(daemon, {**orders(other), "name": "lines", "topic": "mes/#"})
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("subscribed to mes/#")
    until(lambda: "Received UNSUBSCRIBE from butler-mqtt-rules" in broker.log(), what="UNSUBSCRIBE")
    publish(sender, 101)
    sender.publish({"total": 101}, topic="mes/line")
    until(lambda: replies(sender, other), what="a reply")
    assert (qlik.posts(task), qlik.posts(other)) == (0, 1)
    assert daemon.wait_logged("as butler-mqtt-rules") == 1


def test_what_cannot_be_rendered_is_refused_and_kept(
    make_daemon: killing.MakeDaemon, broker: Mosquitto, sender: Sender, task: str
) -> None:
    daemon = ruled(make_daemon(broker), orders("${{ payload.task }}")).start()
    daemon.wait_log("subscribed to erp/+/orders")
    publish(sender, 101, task="no task id")
    got = sender.wait(lambda got: got.topic == REPLY)
    assert (got.json["code"], got.json["rule"]) == ("rule_failed", "orders")
    kept = daemon.wait_row("SELECT payload FROM deliveries")[0]
    assert json.loads(kept)["task"] == "no task id"
