"""Executions followed on a real server: what is told about their way and their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.acceptance.task_events import event, events, kinds, soon, until_begun
from tests.brokers import Mosquitto, until

LOG = [f"line {number}" for number in range(1, 31)]


@pytest.fixture
def sender(place: Place) -> Sender:
    return place.sender


# ---- ends


def test_a_reload_is_told_as_started_running_and_succeeded_with_its_facts(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task("Told", durationSeconds=1.5)
    reply = sender.ask({"requestId": f"told-{task}", "taskId": task})
    end = event(sender, f"told-{task}")
    assert kinds(sender, f"told-{task}") == ["started", "running", "succeeded"]
    [execution] = qlik.execution_ids(task)
    assert reply["tasksStarted"][0]["executionId"] == end["executionId"] == execution
    assert (end["taskId"], end["taskName"], end["requestIds"]) == (task, "Told", [f"told-{task}"])
    assert (end["eventId"], end["node"]) == (f"{execution}/succeeded", "sense1.lab.local")
    assert end["startedAt"] < end["stoppedAt"]
    assert 1400 <= end["durationMs"] <= 3000
    assert "FinishedSuccess" in end["message"]


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ("fail", "failed"),
        ("error", "failed"),
        ("reset", "failed"),
        ("skipped", "skipped"),
        ("aborted", "aborted"),
    ],
)
def test_each_end_has_its_event(sender: Sender, qlik: Qlik, result: str, name: str) -> None:
    task = qlik.task(result=result)
    sender.ask({"requestId": f"end-{task}", "taskId": task})
    assert event(sender, f"end-{task}")["event"] == name


@pytest.mark.parametrize("way", ["both", "old", "new"])
def test_a_failed_reload_is_told_with_the_last_lines_of_its_script_log(
    sender: Sender, qlik: Qlik, way: str
) -> None:
    qlik.switch(scriptLog=way)
    task = qlik.task(result="fail", scriptLog=LOG)
    sender.ask({"requestId": f"log-{task}", "taskId": task})
    lines = event(sender, f"log-{task}")["scriptLog"]
    assert [line.partition("  ")[2] for line in lines] == LOG[-20:]


def test_a_script_log_that_comes_late_is_waited_for(sender: Sender, qlik: Qlik) -> None:
    qlik.switch(scriptLogLagSeconds=3)
    task = qlik.task(result="fail", scriptLog=LOG)
    sender.ask({"requestId": f"late-{task}", "taskId": task})
    assert len(event(sender, f"late-{task}")["scriptLog"]) == 20


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_script_log_that_cannot_be_had_is_left_out_and_holds_nothing_else_back(
    sender: Sender, qlik: Qlik, status: int
) -> None:
    task, other = qlik.task(result="fail"), qlik.task(durationSeconds=1)
    qlik.fault("status", path="*scriptlog*", status=status, count=None)
    sender.ask({"requestId": f"none-{task}", "taskId": task})
    sender.ask({"requestId": f"none-{other}", "taskId": other})
    event(sender, f"none-{other}", "succeeded")
    end = event(sender, f"none-{task}", "failed")
    assert "scriptLog" not in end
    assert end["message"]


def test_script_logs_can_be_switched_off(
    broker: Mosquitto, make_daemon: Callable[..., Daemon], qlik: Qlik
) -> None:
    make_daemon(broker, startTask={"scriptLogLines": 0}).start()
    task = qlik.task(result="fail")
    with Sender(broker.port) as sender:
        sender.ask({"requestId": "off", "taskId": task})
        assert "scriptLog" not in event(sender, "off", "failed")
    assert not qlik.admin("GET", f"/calls?taskId={task}&path=scriptlog")["calls"]


@pytest.mark.parametrize(("by_hand", "reason"), [(True, "manual"), (False, "timeout")])
def test_aborted_by_hand_and_by_timeout_are_told_apart(
    sender: Sender, qlik: Qlik, by_hand: bool, reason: str
) -> None:
    qlik.switch(durationFactor=20)  # two seconds in each state of the abort
    task = qlik.task(result="never", timeoutMinutes=1440 if by_hand else 0.002)
    sender.ask({"requestId": f"abort-{task}", "taskId": task})
    event(sender, f"abort-{task}", "running")
    if by_hand:
        qlik.admin("POST", f"/tasks/{task}/stop")
    end = event(sender, f"abort-{task}")
    assert (end["event"], end.get("reason")) == ("aborted", reason)


@pytest.mark.parametrize("results", ["several", "one"])
@pytest.mark.parametrize(("outcomes", "name"), [(["fail", "success"], "succeeded"), ("fail", "failed")])
def test_a_retry_is_told_and_the_last_attempt_counts(
    sender: Sender, qlik: Qlik, results: str, outcomes: object, name: str
) -> None:
    qlik.switch(retryResults=results, durationFactor=8)  # 1.6 s between the attempts
    task = qlik.task(result=outcomes, retries=1, durationSeconds=0.2)
    sender.ask({"requestId": f"retry-{task}", "taskId": task})
    assert event(sender, f"retry-{task}")["event"] == name
    told = kinds(sender, f"retry-{task}")
    assert told.count("retrying") == 1
    assert told.count("running") <= 1
    assert len(qlik.execution_ids(task)) == 1


def test_a_result_that_lags_behind_its_session_is_waited_for(sender: Sender, qlik: Qlik) -> None:
    qlik.switch(resultLagSeconds=3)
    task = qlik.task(durationSeconds=0.5)
    sender.ask({"requestId": f"lag-{task}", "taskId": task})
    assert event(sender, f"lag-{task}")["event"] == "succeeded"


# ---- behind a run


def test_ten_requests_in_the_middle_of_a_run_lead_to_one_more(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=4)
    first = sender.ask({"requestId": f"first-{task}", "taskId": task})["tasksStarted"][0]["executionId"]
    names = [f"ten-{number}-{task}" for number in range(10)]
    topics = [sender.send({"requestId": name, "taskId": task}) for name in names]
    for topic in topics:
        [queued] = sender.answer(topic)["tasksQueued"]
        assert (queued["status"], queued["reason"], queued["behind"]) == ("queued", "running", first)
    ends = [event(sender, name) for name in names]
    assert {end["event"] for end in ends} == {"succeeded"}
    assert len({end["eventId"] for end in ends}) == 1
    assert sorted(ends[0]["requestIds"]) == sorted(names)
    assert qlik.executions(task) == 2
    assert kinds(sender, names[0])[:2] == ["queued", "started"]


def test_ten_requests_during_a_foreign_run_lead_to_one_more(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=3)
    foreign = qlik.begin(task)
    names = [f"foreign-{number}-{task}" for number in range(10)]
    topics = [sender.send({"requestId": name, "taskId": task}) for name in names]
    assert {sender.answer(topic)["tasksQueued"][0]["behind"] for topic in topics} == {foreign}
    assert {event(sender, name)["event"] for name in names} == {"succeeded"}
    assert qlik.executions(task) == 2
    assert not [one for one in sender.all() if f'"eventId":"{foreign}'.encode() in one.payload]


def test_skip_leaves_a_running_task_alone_and_names_the_execution(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    foreign = qlik.begin(task)
    reply = sender.ask({"requestId": f"skip-{task}", "taskId": task, "ifRunning": "skip"})
    qlik.end(task)
    assert [(one["status"], one["executionId"]) for one in reply["tasksSkipped"]] == [
        ("alreadyRunning", foreign)
    ]
    assert qlik.executions(task) == 1
    assert kinds(sender, f"skip-{task}") == []


@pytest.mark.parametrize("gives", ["empty", "same", "second"])
def test_however_a_start_of_a_running_task_is_answered_a_fresh_execution_comes(
    sender: Sender, qlik: Qlik, gives: str
) -> None:
    qlik.switch(alreadyRunning=gives)
    task = qlik.task(durationSeconds=3)
    foreign = qlik.begin(task)
    reply = sender.ask({"requestId": f"{gives}-{task}", "taskId": task})
    assert ("tasksQueued" in reply) is (gives != "second")
    end = event(sender, f"{gives}-{task}")
    assert (end["event"], end["executionId"] == foreign) == ("succeeded", False)
    assert qlik.execution_ids(task) == [foreign, end["executionId"]]


def test_a_task_that_is_always_busy_starves_nobody(sender: Sender, qlik: Qlik) -> None:
    """Another scheduler begins the next execution the moment one ends: one of those is young enough."""
    task = qlik.task(durationSeconds=1.5)
    over = threading.Event()

    def keep_busy() -> None:
        while not over.is_set():
            if not qlik.admin("GET", f"/executions?taskId={task}&active=true"):
                qlik.begin(task)

    other = threading.Thread(target=keep_busy)
    other.start()
    try:
        until_begun(qlik, task)
        sender.ask({"requestId": f"busy-{task}", "taskId": task})
        assert event(sender, f"busy-{task}", seconds=30)["event"] == "succeeded"
    finally:
        over.set()
        other.join()
        qlik.until_idle(task)


def test_a_start_that_is_not_begun_in_time_is_told_as_expired_and_never_begins(
    sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(result="never")
    qlik.begin(task)
    sender.ask({"requestId": f"expires-{task}", "taskId": task, "expiresAt": soon(1.5)})
    end = event(sender, f"expires-{task}")
    assert (end["event"], end["code"], end["executionId"]) == ("expired", "expired", None)
    qlik.end(task)
    # What comes after it shows that nothing is left.
    sender.ask({"requestId": f"after-{task}", "taskId": task})
    assert event(sender, f"after-{task}", "started")["requestIds"] == [f"after-{task}"]
    assert qlik.executions(task) == 2
    qlik.end(task)


def test_nothing_begins_before_not_before(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    began = time.monotonic()
    reply = sender.ask({"requestId": f"later-{task}", "taskId": task, "notBefore": soon(2)})
    assert (reply["tasksQueued"][0]["reason"], reply["tasksQueued"][0]["behind"]) == ("notBefore", None)
    event(sender, f"later-{task}", "started")
    assert time.monotonic() - began >= 1.8
    assert event(sender, f"later-{task}")["event"] == "succeeded"
    assert kinds(sender, f"later-{task}")[0] == "queued"


# ---- wait: finished


@pytest.mark.parametrize(("result", "name"), [("success", "succeeded"), ("fail", "failed")])
def test_the_reply_can_wait_for_the_end(sender: Sender, qlik: Qlik, result: str, name: str) -> None:
    task = qlik.task(result=result, durationSeconds=1)
    reply = sender.ask({"requestId": f"wait-{task}", "taskId": task, "wait": "finished"})
    [entry] = reply["tasksStarted"]
    assert (reply["status"], reply["outcome"]) == ("ok", name)
    assert (entry["result"], entry["node"]) == (name, "sense1.lab.local")
    assert entry["durationMs"] >= 900
    assert entry["message"]
    assert name in kinds(sender, f"wait-{task}")


def test_the_reply_that_waits_comes_when_the_time_of_the_request_is_over(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    body = {"requestId": f"over-{task}", "taskId": task, "wait": "finished", "expiresAt": soon(2)}
    [entry] = sender.ask(body)["tasksStarted"]
    assert "result" not in entry
    qlik.end(task)
    assert event(sender, f"over-{task}")["event"] == "aborted"


def test_repetitions_of_a_request_that_waits_for_the_end_get_its_reply(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=2)
    qlik.begin(task)
    body = {"requestId": f"dup-{task}", "taskId": task}
    topics = [sender.send({**body, "wait": "finished"}) for _ in range(2)]
    assert "tasksQueued" in sender.ask(body)
    replies = [sender.answer(topic) for topic in topics]
    assert replies[0] == replies[1]
    assert replies[0]["tasksStarted"][0]["result"] == "succeeded"
    assert sender.ask({**body, "wait": "finished"}) == replies[0]
    assert sender.ask(body) == replies[0]
    assert [len(sender.heard(topic)) for topic in topics] == [1, 1]


def test_a_repetition_of_a_request_that_did_not_wait_gets_its_reply_at_once(
    sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task(durationSeconds=60)
    body = {"requestId": f"now-{task}", "taskId": task}
    assert sender.ask(body) == sender.ask({**body, "wait": "finished"})


# ---- for a slot


@pytest.mark.parametrize("limit", [2, "auto"])
def test_no_more_reloads_run_at_one_time_than_allowed_and_all_run_in_the_end(
    broker: Mosquitto, make_daemon: Callable[..., Daemon], qlik: Qlik, limit: int | str
) -> None:
    if limit == "auto":
        qlik.fault(
            "wrongJson",
            path="*schedulerservice*",
            body='[{"settings": {"maxConcurrentEngines": 2}}]',
            count=None,
        )
    daemon = make_daemon(broker, startTask={"maxConcurrentReloads": limit}).start()
    tasks = qlik.tasks(5, durationSeconds=1.5)
    most = 0
    with Sender(broker.port) as sender:
        if limit == "auto":
            until(
                lambda: qlik.admin("GET", "/calls?path=schedulerservice")["calls"],
                what="the capacity is read",
            )
        reply = sender.ask({"requestId": "slots", "taskId": tasks})
        reasons = [one["reason"] for one in reply.get("tasksQueued", [])]
        assert reasons == ["capacity"] * 3, reply
        deadline = time.monotonic() + 40
        while len([one for one in events(sender, "slots") if one["event"] == "succeeded"]) < 5:
            assert time.monotonic() < deadline, daemon.log()
            active = qlik.admin("GET", "/executions?active=true")
            most = max(most, len([one for one in active if one["taskID"] in tasks]))
    assert most == 2
    assert [qlik.executions(task) for task in tasks] == [1] * 5
