"""SIGKILL while executions are followed: nothing is lost, and an event told again is the same event."""

from __future__ import annotations

from tests.acceptance import killing
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.acceptance.task_events import event, events, kinds, soon, until_begun
from tests.brokers import Mosquitto, until

LOG = ["Loading", "Error: field not found", "Execution failed"]

#: In place of those that tests share.
relay, sender, daemon = killing.relay, killing.sender, killing.daemon


def check_told(sender: Sender, request_id: str, *expected: str) -> None:
    """Check that a request's events are these, `running` aside; told again by a kill they are the same."""
    sender.drain()
    told = {str(one["eventId"]): one for one in events(sender, request_id)}
    assert all(one == told[one["eventId"]] for one in events(sender, request_id))
    assert [one["event"] for one in told.values() if one["event"] != "running"] == list(expected)


def test_killed_while_requests_wait_behind_a_foreign_run(daemon: Daemon, sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=3)
    qlik.begin(task)
    topics = [sender.send({"requestId": f"r{number}", "taskId": task}) for number in range(3)]
    for topic in topics:
        assert "tasksQueued" in sender.answer(topic)
    until(lambda: daemon.rows("SELECT count(*) FROM outbox") == [(0,)], what="the replies are acknowledged")
    daemon.kill()
    qlik.until_idle(task)
    daemon.start()
    for number in range(3):
        assert event(sender, f"r{number}")["event"] == "succeeded"
    assert qlik.executions(task) == 2
    for number in range(3):
        check_told(sender, f"r{number}", "queued", "started", "succeeded")
    assert [len(sender.heard(topic)) for topic in topics] == [1, 1, 1]


def test_killed_twice_while_a_reload_fails_its_reason_and_log_arrive(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(durationSeconds=3, result="fail", scriptLog=LOG)
    qlik.begin(task)
    topic = sender.send({"requestId": "r", "taskId": task, "wait": "finished"})
    daemon.wait_row("SELECT id FROM starts WHERE state = 'waiting'")
    daemon.kill()
    daemon.start()
    until_begun(qlik, task, 2)
    daemon.wait_row("SELECT id FROM runs WHERE state = 'executing'")
    daemon.kill()
    qlik.until_idle(task)
    daemon.start()
    end = event(sender, "r")
    assert end["event"] == "failed"
    assert [line.partition("  ")[2] for line in end["scriptLog"]] == LOG
    assert "FinishedFail" in end["message"]
    [entry] = sender.answer(topic)["tasksStarted"]
    assert (entry["result"], entry["executionId"]) == ("failed", end["executionId"])
    assert qlik.executions(task) == 2
    check_told(sender, "r", "queued", "started", "failed")
    assert len(sender.heard(topic)) == 1


def test_killed_between_the_end_and_its_event(
    daemon: Daemon, relay: Relay, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(durationSeconds=1)
    topic = sender.send({"requestId": "r", "taskId": task, "wait": "finished"})
    event(sender, "r", "started")
    relay.refuse()
    relay.cut()
    daemon.wait_row("SELECT id FROM runs WHERE result = 'succeeded'")
    daemon.kill()
    assert "succeeded" not in kinds(sender, "r")
    relay.refuse(refused=False)
    daemon.start()
    assert event(sender, "r")["event"] == "succeeded"
    assert sender.answer(topic)["tasksStarted"][0]["result"] == "succeeded"
    sender.drain()
    assert kinds(sender, "r").count("succeeded") == 1
    assert len(sender.heard(topic)) == 1
    assert qlik.executions(task) == 1


def test_killed_between_an_event_and_its_acknowledgement(
    daemon: Daemon, relay: Relay, sender: Sender, qlik: Qlik
) -> None:
    """The event is published again with the same eventId, byte for byte."""
    task = qlik.task(durationSeconds=1.5)
    sender.ask({"requestId": "r", "taskId": task})
    event(sender, "r", "started")
    relay.hold_down()
    event(sender, "r", "succeeded")
    daemon.kill()
    relay.cut()
    relay.flow()
    daemon.start()
    until(lambda: daemon.rows("SELECT count(*) FROM outbox") == [(0,)], what="the outbox is empty")
    sender.drain()
    ends = [one for one in events(sender, "r") if one["event"] == "succeeded"]
    assert len(ends) == 2
    assert ends[0] == ends[1]
    assert qlik.executions(task) == 1


def test_killed_between_the_end_of_the_run_before_and_the_next_post(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    """The shared run is on disk as an intent; it is settled, and begins once."""
    task = qlik.task(durationSeconds=2)
    qlik.begin(task)
    topics = [sender.send({"requestId": f"r{number}", "taskId": task}) for number in range(2)]
    for topic in topics:
        assert "tasksQueued" in sender.answer(topic)
    qlik.fault("hang", method="POST", taskId=task, when="after", seconds=5)
    until_begun(qlik, task, 2)
    daemon.kill()
    daemon.start()
    ends = [event(sender, f"r{number}", seconds=40) for number in range(2)]
    assert ends[0] == ends[1]
    assert ends[0]["event"] == "succeeded"
    assert qlik.executions(task) == 2


def test_killed_while_starts_wait_for_their_time_and_for_a_slot(
    make_daemon: killing.MakeDaemon, broker: Mosquitto, sender: Sender, qlik: Qlik
) -> None:
    daemon = make_daemon(broker, startTask={"maxConcurrentReloads": 1}).start()
    later, *tasks = qlik.tasks(4, durationSeconds=1)
    sender.ask({"requestId": "later", "taskId": later, "notBefore": soon(3)})
    reply = sender.ask({"requestId": "slots", "taskId": tasks})
    assert len(reply["tasksQueued"]) == 2
    daemon.kill()
    daemon.start()
    for task in tasks:
        until_begun(qlik, task)
    assert event(sender, "later")["event"] == "succeeded"
    until(lambda: kinds(sender, "slots").count("succeeded") == 3, seconds=30, what="all three have succeeded")
    assert [qlik.executions(task) for task in [later, *tasks]] == [1] * 4


def test_a_repetition_waits_for_the_end_across_a_kill(daemon: Daemon, sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=3)
    body = {"requestId": "r", "taskId": task, "wait": "finished"}
    first = sender.send(body)
    daemon.wait_row("SELECT id FROM starts WHERE state = 'running'")
    topic = sender.send(body)
    daemon.wait_row("SELECT id FROM deliveries ORDER BY id LIMIT 1 OFFSET 1")
    daemon.kill()
    daemon.start()
    assert sender.answer(first) == sender.answer(topic)
    assert sender.answer(topic)["tasksStarted"][0]["result"] == "succeeded"
    assert qlik.executions(task) == 1
    sender.drain()
    assert len(sender.heard(topic)) == 1


def test_the_reply_that_waits_comes_at_its_time_although_the_daemon_was_killed(
    daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(result="never")
    topic = sender.send({"requestId": "r", "taskId": task, "wait": "finished", "expiresAt": soon(2.5)})
    until_begun(qlik, task)
    daemon.wait_row("SELECT id FROM runs WHERE state = 'executing'")
    daemon.kill()
    daemon.start()
    [entry] = sender.answer(topic)["tasksStarted"]
    assert "result" not in entry
    qlik.end(task)
