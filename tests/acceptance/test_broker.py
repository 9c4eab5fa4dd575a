"""The broker goes away, comes back, is not there yet: no request is lost and every one is answered."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.acceptance.relay import Relay
from tests.acceptance.rig import READY, Daemon, Qlik
from tests.acceptance.sender import REPLY, STATUS, Sender
from tests.brokers import Mosquitto, until

MakeDaemon = Callable[..., Daemon]


def test_requests_published_while_the_daemon_is_away_are_carried_out_later(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(30)
    daemon = make_daemon(broker).start()
    assert daemon.stop() == 0
    with Sender(broker.port) as sender:
        topics = [sender.send({"taskId": task}) for task in tasks]
        daemon.start()
        answers = [sender.answer(topic) for topic in topics]
    assert [answer["totalTasksStarted"] for answer in answers] == [1] * 30
    assert [qlik.executions(task) for task in tasks] == [1] * 30


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_killed_in_the_middle_of_the_work_costs_no_reply_and_no_second_start(
    version: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(60)
    daemon = make_daemon(broker, mqttConfig={"protocolVersion": version}).start()
    bodies = [
        {"requestId": f"kill-{task}", "taskId": task, "replyTopic": f"qliksense/test/{task}"}
        for task in tasks
    ]
    with Sender(broker.port, version, client_id="patient") as sender:
        slow = [
            qlik.fault("slow", method="POST", taskId=task, seconds=1, when="before") for task in tasks[20:24]
        ]
        for body in bodies:
            sender.publish(body, wait=False)
        until(lambda: qlik.struck(slow[0]), what="starts are on their way")
        mark = daemon.mark()
        broker.kill()
        # What was on its way to the server goes on without the broker.
        until(lambda: qlik.executions(tasks[20]) == 1, what="a start carried out while the broker is down")
        broker.start()
        daemon.wait_log("Subscribed to", since=mark, seconds=30)
        # A sender that got no PUBACK, or whose broker lost its store, publishes again.
        for body in bodies:
            sender.publish(body)
        for body in bodies:
            assert sender.answer(str(body["replyTopic"]), seconds=40)["totalTasksStarted"] == 1
    assert [qlik.executions(task) for task in tasks] == [1] * 60
    assert daemon.rows("SELECT count(*) FROM deliveries WHERE answered_at IS NULL") == [(0,)]


def test_replies_that_could_not_be_published_are_published_when_the_broker_is_back(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    fault = qlik.fault("slow", method="POST", taskId=task, seconds=1, when="before")
    daemon = make_daemon(broker).start()
    with Sender(broker.port, client_id="patient") as sender:
        topic = sender.send({"taskId": task})
        until(lambda: qlik.struck(fault), what="the start is on its way")
        broker.stop()
        daemon.wait_row("SELECT id FROM outbox WHERE kind = 'reply'")
        assert daemon.runs()
        broker.start()
        assert sender.answer(topic, seconds=30)["totalTasksStarted"] == 1
        until(lambda: daemon.rows("SELECT count(*) FROM outbox") == [(0,)], what="the outbox is empty")
    assert qlik.posts(task) == 1


def test_a_broker_that_is_not_there_at_start_is_waited_for(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    broker.stop()
    daemon = make_daemon(broker).start(ready=False)
    daemon.wait_log("butler-mqtt")
    daemon.wait_log("refused")
    assert daemon.logged(READY) == 0
    broker.start()
    daemon.wait_log(READY, seconds=30)
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task})["totalTasksStarted"] == 1


def test_a_frozen_broker_delays_replies_and_loses_none(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(10)
    faults = [qlik.fault("slow", method="POST", taskId=task, seconds=0.5, when="before") for task in tasks]
    make_daemon(broker).start()
    with Sender(broker.port) as sender:
        topics = [sender.send({"taskId": task}) for task in tasks]
        until(lambda: qlik.struck(faults[0]), what="the first start is on its way")
        broker.freeze()
        until(lambda: all(qlik.executions(task) for task in tasks), what="all tasks started")
        broker.thaw()
        for topic in topics:
            assert sender.answer(topic)["totalTasksStarted"] == 1
        sender.drain()
        assert [len(sender.heard(topic)) for topic in topics] == [1] * 10


def test_connections_cut_again_and_again_lose_nothing(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(40)
    with Relay(broker.port) as relay, Sender(broker.port) as sender:
        daemon = make_daemon(relay.port).verbose().start()
        topics = []
        for number, task in enumerate(tasks):
            topics.append(sender.send({"taskId": task}))
            if number % 20 == 10:
                mark = daemon.mark()
                relay.cut()
                daemon.wait_log("Subscribed to", since=mark)
        for topic in topics:
            assert sender.answer(topic)["totalTasksStarted"] == 1
    assert [qlik.posts(task) for task in tasks] == [1] * 40


def test_the_status_topic_shows_online_and_after_a_kill_the_will(
    make_daemon: MakeDaemon, broker: Mosquitto
) -> None:
    with Sender(broker.port) as sender:
        daemon = make_daemon(broker).start()
        online = json.loads(sender.wait(lambda got: got.topic == STATUS).payload)
        assert (online["status"], set(online)) == ("online", {"status", "instance", "startedAt", "version"})
        daemon.kill()
        offline = json.loads(sender.wait_for(2, lambda got: got.topic == STATUS)[1].payload)
        assert offline == {**online, "status": "offline"}
        daemon.start()
        again = json.loads(sender.wait_for(3, lambda got: got.topic == STATUS)[2].payload)
        assert again["status"] == "online"
        assert again["instance"] != online["instance"]
    with Sender(broker.port) as late:
        assert late.wait(lambda got: got.topic == STATUS).retain


def test_requests_over_tls_with_a_client_certificate_are_answered(
    make_daemon: MakeDaemon, tmp_path_factory: pytest.TempPathFactory, qlik: Qlik
) -> None:
    folder = tmp_path_factory.mktemp("tls-broker")
    with Mosquitto(folder, tls=True, client_certificates=True) as broker:
        tls = {
            "enable": True,
            "caFile": str(folder / "ca.pem"),
            "certFile": str(folder / "client.pem"),
            "keyFile": str(folder / "client_key.pem"),
        }
        make_daemon(broker, mqttConfig={"tls": tls}).start()
        task = qlik.task()

        def trust(client: object) -> None:
            client.tls_set(tls["caFile"], tls["certFile"], tls["keyFile"])  # type: ignore[attr-defined] # paho's

        with Sender(broker.port, connect=trust) as sender:
            sender.publish({"taskId": task})
            got = sender.wait(lambda got: got.topic == REPLY)
    assert got.json["totalTasksStarted"] == 1
