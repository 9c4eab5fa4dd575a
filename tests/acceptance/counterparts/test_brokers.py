"""The daemon on RabbitMQ's MQTT plug-in (3.10 of Debian 12) and Aedes, both of MQTT 3.1.1 only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.counterparts.programs import Aedes, Program, RabbitMq
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import STATUS, Sender
from tests.brokers import until

pytestmark = pytest.mark.counterparts

MakeDaemon = Callable[..., Daemon]
START = "qliksense/task/start"
OLD = {"protocolVersion": "3.1.1"}


@pytest.fixture(scope="module", params=[RabbitMq, Aedes])
def counterpart(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    with request.param(tmp_path_factory.mktemp("counterpart")) as made:
        yield made


@pytest.fixture
def sender(counterpart: Program) -> Iterator[Sender]:
    with Sender(counterpart.port, "3.1.1") as made:
        yield made


@pytest.fixture
def daemon(counterpart: Program, make_daemon: MakeDaemon) -> Daemon:
    return make_daemon(counterpart.port, mqttConfig=OLD).start()


def shown(counterpart: Program) -> dict[str, str]:
    """Read the retained status with a client of others, by the topic itself: RabbitMQ keeps none for `#`."""
    command = ["mosquitto_sub", "-V", "mqttv311", "-h", "127.0.0.1", "-p", str(counterpart.port)]
    done = subprocess.run(
        [*command, "-t", STATUS, "-C", "1", "-W", "30"], capture_output=True, timeout=60, check=True
    )
    status: dict[str, str] = json.loads(done.stdout)
    return status


def check(daemon: Daemon) -> dict[str, dict[str, str]]:
    """Run `check` with the daemon's configuration and give its lines about the broker."""
    command = [sys.executable, "-m", "butler_mqtt", "check", "--json", "-c", str(daemon.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = json.loads(done.stdout)
    return {line["name"]: line for line in lines if line["name"].startswith("broker.")}


def test_a_request_is_answered_and_starts_once(daemon: Daemon, sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    assert sender.ask({"taskId": task})["totalTasksStarted"] == 1
    assert qlik.posts(task) == 1


def test_an_event_follows_each_end(daemon: Daemon, sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    answered = sender.ask({"taskId": task, "wait": "finished"})
    event = sender.wait(lambda got: got.topic.endswith(f"/event/{task}") and got.json["event"] == "succeeded")
    assert event.json["requestIds"] == [answered["requestId"]]


def test_requests_published_while_the_daemon_is_killed_are_carried_out_later(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    tasks = qlik.tasks(20)
    daemon.kill()
    topics = [sender.send({"taskId": task}) for task in tasks]
    daemon.start()
    for topic in topics:
        assert sender.answer(topic)["totalTasksStarted"] == 1
    assert [qlik.posts(task) for task in tasks] == [1] * 20


def test_a_daemon_that_is_killed_in_a_burst_starts_each_task_once(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    tasks = qlik.tasks(60)
    topics = []
    for number, task in enumerate(tasks):
        topics.append(sender.send({"taskId": task, "requestId": f"burst-{task}"}))
        if number in {20, 40}:
            daemon.kill()
            daemon.start(ready=False)
    for topic in topics:
        assert sender.answer(topic)["totalTasksStarted"] == 1
    assert [qlik.executions(task) for task in tasks] == [1] * 60


def test_what_the_broker_delivers_again_starts_nothing_twice(
    counterpart: Program, make_daemon: MakeDaemon, sender: Sender, qlik: Qlik
) -> None:
    # With an id: RabbitMQ gives what it delivers again another packet id, Aedes no DUP.
    task = qlik.task()
    with Relay(counterpart.port) as relay:
        daemon = make_daemon(relay.port, mqttConfig=OLD).start()
        sender.drain()
        relay.hold_up()
        topic = sender.send({"taskId": task, "requestId": f"again-{task}"})
        until(lambda: qlik.posts(task) == 1, what="the start")
        mark = daemon.mark()
        relay.cut()
        relay.flow()
        daemon.wait_log("came again", since=mark)
        assert sender.answer(topic)["totalTasksStarted"] == 1
        sender.drain()
    assert qlik.posts(task) == 1


def test_the_status_is_retained_online_and_after_a_kill_offline(counterpart: Program, daemon: Daemon) -> None:
    until(lambda: shown(counterpart)["status"] == "online", what="online")
    online = shown(counterpart)
    daemon.kill()
    until(lambda: shown(counterpart)["status"] == "offline", what="the will")
    assert shown(counterpart)["instance"] == online["instance"]


def test_the_daemon_comes_back_to_a_broker_that_was_killed(
    counterpart: Program, daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    mark = daemon.mark()
    counterpart.kill()
    daemon.wait_log("trying again", since=mark)
    counterpart.start()
    daemon.wait_log("Subscribed to", since=mark, seconds=120)
    assert sender.ask({"taskId": task})["totalTasksStarted"] == 1
    assert qlik.posts(task) == 1


def test_mqtt_5_is_answered_with_the_setting_that_works(
    counterpart: Program, make_daemon: MakeDaemon
) -> None:
    daemon = make_daemon(counterpart.port).start(ready=False)
    line = daemon.wait_log("protocolVersion")
    assert "set mqttConfig.protocolVersion: 3.1.1" in line
    assert check(daemon)["broker.login"]["state"] == "wrong"
    assert "this broker speaks MQTT 3.1.1 only" in check(daemon)["broker.login"]["advice"]


def test_a_check_finds_nothing_wrong(daemon: Daemon) -> None:
    found = check(daemon)
    assert {name: line for name, line in found.items() if line["state"] == "wrong"} == {}


def test_rabbitmq_that_forbids_the_status_is_served_without_it(
    tmp_path: Path, make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    task = qlik.task()
    with RabbitMq(tmp_path / "rabbitmq") as broker, Sender(broker.port, "3.1.1") as sender:
        # It closes the connection on what it forbids; topics have dots there.
        broker.order("set_topic_permissions", "guest", "amq.topic", r"^qliksense\.(task|test)\.", ".*")
        daemon = make_daemon(broker.port, mqttConfig=OLD).start(ready=False)
        assert STATUS in daemon.wait_log("Going on without the status", seconds=120)
        assert sender.ask({"taskId": task}, seconds=120)["totalTasksStarted"] == 1


def test_a_reply_that_rabbitmq_forbids_is_set_aside_and_others_go(
    tmp_path: Path, make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    denied, allowed = qlik.tasks(2)
    with RabbitMq(tmp_path / "rabbitmq") as broker, Sender(broker.port, "3.1.1") as sender:
        broker.order("set_topic_permissions", "guest", "amq.topic", r"^(?!qliksense\.denied)", ".*")
        daemon = make_daemon(broker.port, mqttConfig=OLD).start()
        sender.publish({"taskId": denied, "replyTopic": "qliksense/denied"})
        assert "qliksense/denied" in daemon.wait_log("message_quarantined", seconds=180)
        assert sender.ask({"taskId": allowed}, seconds=120)["totalTasksStarted"] == 1


# ---- rules, on brokers without Subscription Identifiers


def ruled(daemon: Daemon, *rules: dict[str, Any]) -> Daemon:
    """Start *daemon* with rules and wait until the broker has taken their filter."""
    daemon.config["rules"] = list(rules)  # type: ignore[assignment] # a list, where others are sections
    daemon.configure()
    daemon.start().wait_log(f"subscribed to {rules[0]['topic']}")
    return daemon


def orders(place: str, task: str, **fields: Any) -> dict[str, Any]:
    """Return a rule that starts *task* for large orders, each once by its number."""
    start = {"taskId": task, "requestId": f"{place}-${{{{ payload.order }}}}"}
    return {
        "name": "orders",
        "topic": f"{place}/+/orders",
        "when": "payload.total > 100",
        "start": start,
    } | fields


def client(place: str) -> dict[str, object]:
    """Return the settings of a daemon with sessions of its own: the broker keeps those of other tests."""
    return {**OLD, "clientId": place}


def test_a_message_for_a_rule_starts_once_and_no_message_comes_again_after_a_kill(
    counterpart: Program, make_daemon: MakeDaemon, sender: Sender, qlik: Qlik
) -> None:
    task, place = qlik.task(), "rule-once"
    daemon = ruled(make_daemon(counterpart.port, mqttConfig=client(place)), orders(place, task))
    sender.publish({"total": 99, "order": 1}, topic=f"{place}/berlin/orders")
    sender.publish({"total": 101, "order": 2}, topic=f"{place}/berlin/orders")
    daemon.wait_row("SELECT id FROM rule_counts WHERE (started, unmatched) = (1, 1)")
    until(lambda: qlik.posts(task) == 1, what="the start")
    daemon.kill()
    sender.publish({"total": 102, "order": 3}, topic=f"{place}/paris/orders")
    daemon.start()
    daemon.wait_row("SELECT id FROM rule_counts WHERE started > 1")
    # What was not acknowledged would have come before it.
    assert daemon.rows("SELECT started, unmatched FROM rule_counts") == [(2, 1)]


def test_a_message_for_a_rule_that_is_delivered_again_starts_nothing_twice(
    counterpart: Program, make_daemon: MakeDaemon, sender: Sender, qlik: Qlik
) -> None:
    task, place = qlik.task(), "rule-again"
    with Relay(counterpart.port) as relay:
        daemon = ruled(make_daemon(relay.port, mqttConfig=client(place)), orders(place, task))
        relay.hold_up()
        sender.publish({"total": 101, "order": 1}, topic=f"{place}/berlin/orders")
        until(lambda: qlik.posts(task) == 1, what="the start")
        daemon.kill()
        relay.cut()
        relay.flow()
        daemon.start()
        sender.publish({"total": 101, "order": 2}, topic=f"{place}/berlin/orders")
        until(lambda: qlik.posts(task) == 2, what="the start of the next")
        sender.drain()
    assert qlik.posts(task) == 2


def test_a_message_on_a_filter_of_two_rules_is_for_both(
    counterpart: Program, make_daemon: MakeDaemon, sender: Sender, qlik: Qlik
) -> None:
    first, second = qlik.tasks(2)
    place = "rule-both"
    daemon = make_daemon(counterpart.port, mqttConfig=client(place))
    start = {"taskId": second, "requestId": "second-${{ payload.order }}"}
    ruled(daemon, orders(place, first), orders(place, second, name="second", start=start))
    sender.publish({"total": 101, "order": 1}, topic=f"{place}/berlin/orders")
    until(lambda: (qlik.posts(first), qlik.posts(second)) == (1, 1), what="both starts")
    sender.drain()
    assert (qlik.posts(first), qlik.posts(second)) == (1, 1)


# ---- what only Aedes can be made to do


def test_every_request_survives_connections_that_are_closed_again_and_again(
    tmp_path: Path, make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    tasks = qlik.tasks(40)
    with Aedes(tmp_path / "aedes") as broker, Sender(broker.port, "3.1.1", client_id="sender") as sender:
        daemon = make_daemon(broker.port, mqttConfig=OLD).verbose().start()
        topics = []
        for number, task in enumerate(tasks):
            # With an id: Aedes delivers again without DUP, as if for the first time.
            topics.append(sender.send({"taskId": task, "requestId": f"closed-{task}"}))
            if number % 10 == 5:
                mark = daemon.mark()
                broker.hang_up()
                daemon.wait_log("Subscribed to", since=mark)
        for topic in topics:
            assert sender.answer(topic)["totalTasksStarted"] == 1
    assert [qlik.posts(task) for task in tasks] == [1] * 40


def test_a_broker_that_closes_the_connection_on_the_status_is_served_without_it(
    tmp_path: Path, make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    task = qlik.task()
    refusing = Aedes(tmp_path / "aedes", f"refuse-publish={STATUS}")
    with refusing as broker, Sender(broker.port, "3.1.1") as sender:
        daemon = make_daemon(broker.port, mqttConfig=OLD).start()
        line = daemon.wait_log("Going on without the status")
        assert STATUS in line
        assert sender.ask({"taskId": task}, seconds=120)["totalTasksStarted"] == 1


def test_a_subscription_that_the_broker_refuses_is_named(tmp_path: Path, make_daemon: MakeDaemon) -> None:
    with Aedes(tmp_path / "aedes", f"refuse-subscribe={START}") as broker:
        daemon = make_daemon(broker.port, mqttConfig=OLD).start(ready=False)
        assert START in daemon.wait_log("the subscription to")
