"""
SIGKILL at each step of a request's way: every delivery is answered, each task is started once.

The steps are held open from outside: by the relay to the broker, by faults of
the simulator, by a broker that is down.
"""

from __future__ import annotations

import pytest

from tests.acceptance import killing
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.brokers import Mosquitto, until

INTENDED = "SELECT id FROM runs WHERE state IN ('intended', 'posted')"

#: In place of those that tests share.
relay, sender, daemon = killing.relay, killing.sender, killing.daemon


def replies_about(sender: Sender, text: str) -> list[bytes]:
    """Give the replies on the default topic that contain *text*."""
    return [got.payload for got in sender.heard(REPLY) if text.encode() in got.payload]


def test_killed_after_the_arrival_was_stored_and_before_it_was_acknowledged(
    daemon: Daemon, relay: Relay, sender: Sender, qlik: Qlik
) -> None:
    """The broker delivers it again to the next process, which finds it in the journal."""
    task = qlik.task()
    hold = qlik.fault("hang", method="GET", path="/qrs/*task*", seconds=2, count=None)
    relay.hold_up()
    sender.publish({"taskId": task})
    daemon.wait_row("SELECT id FROM deliveries")
    daemon.kill()
    relay.cut()
    relay.flow()
    qlik.admin("DELETE", f"/faults/{hold}")
    daemon.start()
    daemon.wait_log("it is recorded already")
    sender.wait(lambda got: got.topic == REPLY and task.encode() in got.payload)
    sender.drain()
    assert len(replies_about(sender, task)) == 1
    assert (qlik.posts(task), qlik.executions(task)) == (1, 1)


def test_killed_after_the_acknowledgement_and_before_the_intent(
    daemon: Daemon, broker: Mosquitto, sender: Sender, qlik: Qlik
) -> None:
    """Nobody but the journal knows the request any more; it was stored before it was acknowledged."""
    task = qlik.task()
    hold = qlik.fault("hang", method="GET", path="/qrs/*task*", seconds=2, count=None)
    sender.publish({"taskId": task})
    until(lambda: "Received PUBACK from butler-mqtt" in broker.log(), what="the request is acknowledged")
    daemon.kill()
    assert daemon.rows(INTENDED) == []
    qlik.admin("DELETE", f"/faults/{hold}")
    daemon.start()
    sender.wait(lambda got: got.topic == REPLY and task.encode() in got.payload)
    sender.drain()
    assert len(replies_about(sender, task)) == 1
    assert (qlik.posts(task), qlik.executions(task)) == (1, 1)
    assert daemon.logged("it is recorded already") == 0


def test_killed_after_the_intent_and_before_the_post(daemon: Daemon, sender: Sender, qlik: Qlik) -> None:
    """Two looks find nothing, then the POST is made."""
    task = qlik.task()
    assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
    qlik.switch(listener="refuse")
    topic = sender.send({"taskId": task})
    daemon.wait_row(INTENDED)
    daemon.wait_log("is not started yet")
    daemon.kill()
    qlik.switch(listener="up")
    assert qlik.start_calls(task) == []
    daemon.start()
    assert sender.answer(topic, seconds=40)["totalTasksStarted"] == 1
    sender.drain()
    assert len(sender.heard(topic)) == 1
    assert (qlik.posts(task), qlik.executions(task)) == (1, 1)


@pytest.mark.parametrize("result", ["never", "success"])
def test_killed_after_the_post_took_effect_and_before_its_answer(
    result: str, daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    """The execution that the server shows is adopted, whether it still runs or is over."""
    task = qlik.task(result=result)
    qlik.fault("hang", method="POST", taskId=task, when="after", seconds=5)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.executions(task) == 1, what="the start has taken effect")
    daemon.kill()
    daemon.start()
    [entry] = sender.answer(topic, seconds=40)["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)
    sender.drain()
    assert len(sender.heard(topic)) == 1
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


def test_killed_while_a_post_was_on_its_way_that_never_took_effect(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    fault = qlik.fault("hang", method="POST", taskId=task, when="before", seconds=2)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the POST is on its way")
    daemon.kill()
    daemon.start()
    assert sender.answer(topic, seconds=40)["totalTasksStarted"] == 1
    assert (qlik.executions(task), len(qlik.start_calls(task))) == (1, 2)


def test_killed_while_a_post_was_on_its_way_that_took_effect_afterwards(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    """That is why two looks, five seconds apart, must find nothing before a start is repeated."""
    task = qlik.task(result="never")
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=4)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the POST is on its way")
    daemon.kill()
    daemon.start()
    [entry] = sender.answer(topic, seconds=40)["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


def test_killed_after_the_outcome_was_stored_and_before_its_reply_was_published(
    daemon: Daemon, relay: Relay, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the POST is on its way")
    relay.refuse()
    relay.cut()
    daemon.wait_row("SELECT id FROM outbox WHERE kind = 'reply'")
    daemon.kill()
    assert sender.heard(topic) == []
    relay.refuse(refused=False)
    daemon.start()
    [entry] = sender.answer(topic)["tasksStarted"]
    assert "adopted" not in entry
    sender.drain()
    assert len(sender.heard(topic)) == 1
    assert len(qlik.start_calls(task)) == 1
    until(lambda: daemon.rows("SELECT count(*) FROM outbox") == [(0,)], what="the outbox is empty")


def test_killed_after_the_reply_was_published_and_before_the_broker_confirmed_it(
    daemon: Daemon, relay: Relay, sender: Sender, qlik: Qlik
) -> None:
    """The reply is published again, byte for byte: at least once, since the broker may not have had it."""
    task = qlik.task()
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the POST is on its way")
    relay.hold_down()
    sender.answer(topic)
    assert len(daemon.rows("SELECT id FROM outbox WHERE kind = 'reply'")) == 1
    daemon.kill()
    relay.cut()
    relay.flow()
    daemon.start()
    first, second = sender.wait_for(2, lambda got: got.topic == topic)
    assert second.payload == first.payload
    sender.drain()
    assert len(sender.heard(topic)) == 2
    assert len(qlik.start_calls(task)) == 1


def test_killed_while_it_looked_for_the_outcome_of_a_start(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(result="never")
    qlik.fault("cut", method="POST", taskId=task, when="after")
    assert sender.ask({"taskId": task, "dryRun": True})["status"] == "ok"
    hold = qlik.fault("hang", method="GET", path="/qrs/*", seconds=2, count=None)
    topic = sender.send({"taskId": task})
    daemon.wait_log("reading it from the server")
    daemon.kill()
    qlik.admin("DELETE", f"/faults/{hold}")
    daemon.start()
    [entry] = sender.answer(topic, seconds=40)["tasksStarted"]
    assert ([entry["executionId"]], entry["adopted"]) == (qlik.execution_ids(task), True)
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


def test_duplicates_before_and_after_a_kill_share_one_start_and_one_reply(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(result="never")
    body = {"requestId": f"dup-{task}", "taskId": task}
    qlik.fault("hang", method="POST", taskId=task, when="after", seconds=5)
    topics = [sender.send(body), sender.send(body)]
    until(lambda: qlik.executions(task) == 1, what="the start has taken effect")
    daemon.kill()
    topics.append(sender.send(body))
    daemon.start()
    topics.append(sender.send(body))
    answers = [sender.answer(topic, seconds=40) for topic in topics]
    assert answers == answers[:1] * 4
    assert answers[0]["totalTasksStarted"] == 1
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)
