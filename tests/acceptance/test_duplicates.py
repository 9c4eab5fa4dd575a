"""The same request again, and the broker's own redeliveries: one effect, a reply for each delivery."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.brokers import Mosquitto, until

MakeDaemon = Callable[..., Daemon]
RECOGNISED = "it is recorded already"


def test_the_same_request_id_again_gets_the_same_reply_byte_for_byte_and_starts_nothing(
    each: Place, qlik: Qlik
) -> None:
    task = qlik.task()
    body = {"requestId": f"dup-{task}", "taskId": task, "tag": "nobody-has-it"}
    topics = [each.sender.send(body)]
    each.sender.answer(topics[0])
    qlik.until_idle(task)
    topics += [each.sender.send(body) for _ in range(3)]
    for topic in topics:
        each.sender.answer(topic)
    each.sender.drain()
    payloads = [got.payload for topic in topics for got in each.sender.heard(topic)]
    assert len(payloads) == 4
    assert len(set(payloads)) == 1
    assert qlik.posts(task) == 1


def test_requests_that_mean_the_same_are_the_same(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    identity = f"same-{task}"
    first = sender.ask({"requestId": identity, "taskId": task, "sender": "erp"})
    second = sender.ask(
        f'{{ "sender":"erp", "issuedAt": "2020-01-31T08:00:00+01:00", "wait": "started",'
        f'"taskId": ["{task.upper()}"],\n "requestId": "{identity}" }}'
    )
    assert second == first
    assert qlik.posts(task) == 1


def test_the_same_request_id_for_something_else_is_a_conflict(each: Place, qlik: Qlik) -> None:
    task, other = qlik.task(), qlik.task()
    identity = f"conflict-{task}"
    first = each.sender.ask({"requestId": identity, "taskId": task})
    answer = each.sender.ask({"requestId": identity, "taskId": other})
    assert (answer["code"], answer["requestId"]) == ("request_id_conflict", identity)
    assert qlik.posts(other) == 0
    assert each.sender.ask({"requestId": identity, "taskId": task}) == first


def test_a_duplicate_that_comes_while_the_first_is_in_progress_shares_its_reply(
    each: Place, qlik: Qlik
) -> None:
    task = qlik.task()
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
    body = {"requestId": f"progress-{task}", "taskId": task}
    topics = [each.sender.send(body)]
    until(lambda: qlik.struck(fault), what="the start is on its way")
    topics += [each.sender.send(body), each.sender.send(body)]
    answers = [each.sender.answer(topic) for topic in topics]
    assert answers[0]["totalTasksStarted"] == 1
    assert answers[1:] == answers[:1] * 2
    assert qlik.posts(task) == 1


def test_duplicates_that_come_in_one_burst_start_once(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    for _ in range(20):
        each.sender.publish({"requestId": f"burst-{task}", "taskId": task}, wait=False)
    answers = each.sender.wait_for(
        20, lambda got: f"burst-{task}".encode() in got.payload and got.topic == REPLY
    )
    assert len({got.payload for got in answers}) == 1
    assert qlik.posts(task) == 1


def test_without_a_request_id_two_equal_requests_are_two_requests(each: Place, qlik: Qlik) -> None:
    """Recognising them by content would swallow a real second request."""
    task = qlik.task()
    for count in (1, 2):
        assert each.sender.ask({"taskId": task})["totalTasksStarted"] == 1
        qlik.until_idle(task)
        assert qlik.executions(task) == count
    before = len(each.sender.heard(REPLY))
    each.sender.publish(task)
    each.sender.wait_for(before + 1, lambda got: got.topic == REPLY)
    qlik.until_idle(task)
    each.sender.publish(task)
    each.sender.wait_for(before + 2, lambda got: got.topic == REPLY)
    assert qlik.executions(task) == 4


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_redelivery_after_a_cut_before_the_acknowledgement_is_recognised(
    version: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """No request id helps here: session, DUP, packet id and content tell that it is the same delivery."""
    task = qlik.task()
    with Relay(broker.port) as relay, Sender(broker.port, version) as sender:
        daemon = make_daemon(relay.port, mqttConfig={"protocolVersion": version}).verbose().start()
        relay.hold_up()
        sender.publish({"taskId": task})
        daemon.wait_row("SELECT id FROM deliveries")
        relay.cut()
        relay.flow()
        daemon.wait_log(RECOGNISED)
        sender.wait(lambda got: got.topic == REPLY and task.encode() in got.payload)
        sender.drain()
        assert qlik.posts(task) == 1
        documents = [document for (document,) in daemon.rows("SELECT document FROM requests")]
        assert sum(task in document for document in documents) == 1
        # The redelivery was acknowledged: nothing comes again on a later connection. An acknowledgement that
        # was still on its way when the connection was cut leads to one more.
        for _ in range(5):
            mark = daemon.mark()
            relay.cut()
            daemon.wait_log("Subscribed to", since=mark)
            qlik.until_idle(task)
            assert sender.ask({"taskId": task})["totalTasksStarted"] == 1
            if not any(RECOGNISED in line for line in daemon.lines[mark:]):
                break
        else:
            raise AssertionError("the redelivery comes again on every connection")


def test_many_redeliveries_are_all_recognised_and_what_is_new_among_them_is_started(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(60)
    with Relay(broker.port) as relay, Sender(broker.port) as sender:
        daemon = make_daemon(relay.port).start()
        relay.hold_up()
        for task in tasks[:40]:
            sender.publish(task, wait=False)
        until(lambda: daemon.rows("SELECT count(*) FROM deliveries")[0][0] == 40, what="40 deliveries stored")
        relay.refuse()
        relay.cut()
        for task in tasks[40:]:
            sender.publish(task, wait=False)
        sender.publish(tasks[0], topic="qliksense/other")
        relay.flow()
        relay.refuse(refused=False)
        until(
            lambda: (
                {entry["taskId"] for got in sender.heard(REPLY) for entry in got.json.get("tasksStarted", ())}
                == set(tasks)
            ),
            seconds=30,
            what="every task started",
        )
        sender.drain()
        assert [qlik.posts(task) for task in tasks] == [1] * 60
        assert daemon.wait_logged(RECOGNISED, 40) == 40


def test_an_equal_request_on_a_lost_session_is_a_new_one(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Packet ids begin again with a new session, so that the same packet id means nothing there."""
    task = qlik.task()
    with Sender(broker.port) as sender:
        daemon = make_daemon(broker).start()
        sender.publish(task)
        sender.wait_for(1, lambda got: got.topic == REPLY)
        qlik.until_idle(task)
    broker.kill()
    (broker.directory / "mosquitto.db").unlink(missing_ok=True)
    mark = daemon.mark()
    broker.start()
    daemon.wait_log("Subscribed to", since=mark)
    with Sender(broker.port) as sender:
        sender.publish(task)
        sender.wait_for(1, lambda got: got.topic == REPLY)
    assert qlik.executions(task) == 2
