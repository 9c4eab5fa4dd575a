"""`butler-mqtt start --wait`: shows how the tasks get on, and ends as they did."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from butler_mqtt.cli.start_progress import Outcomes, succeeded
from tests import programs
from tests.acceptance.conftest import Place
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.task_events import soon, until_begun
from tests.brokers import Mosquitto, until
from tests.programs import Program

LOG = ["Loading", "Error: field not found", "Execution failed"]


@contextmanager
def started(daemon: Daemon, *arguments: str, stderr: int = subprocess.PIPE) -> Iterator[Program]:
    """Run the command beside the test."""
    process = programs.start(
        [sys.executable, "-m", "butler_mqtt", "start", "--wait", "-c", str(daemon.config_file), *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def outcome(process: Program) -> tuple[int, str, str]:
    """Wait for the end; give exit code, standard output and standard error."""
    out, err = process.communicate(timeout=60)
    return process.wait(), out, err


def call(daemon: Daemon, *arguments: str) -> tuple[int, str, str]:
    with started(daemon, *arguments) as process:
        return outcome(process)


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon], broker: Mosquitto) -> Daemon:
    return make_daemon(broker).start()


#: The broker has the reply about the decision; the command waits for the end.
ANSWERED = "SELECT id FROM deliveries WHERE wait = 'started' AND confirmed_at IS NOT NULL"
#: The reply came some polls ago: its execution has been seen to run since.
RUNNING = "SELECT id FROM runs WHERE events LIKE '%running%'"


# ---- what is gathered


def entry(**fields: Any) -> dict[str, Any]:
    return {"taskId": "t", "taskName": "Sales", "status": "started", "executionId": "e", **fields}


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, "taskId": "t", "taskName": "Sales", "requestIds": ["r"], **fields}


def test_events_of_other_requests_are_left_out() -> None:
    outcomes = Outcomes("r")
    outcomes.event(event("started", requestIds=["other"]))
    assert outcomes.tasks == {}


def test_a_late_event_does_not_bring_a_task_back() -> None:
    outcomes = Outcomes("r")
    outcomes.reply({"tasksStarted": [entry()]})
    outcomes.event(event("succeeded", durationMs=1500))
    outcomes.event(event("running"))
    assert (outcomes.tasks["t"].state, outcomes.tasks["t"].seconds(0.0)) == ("succeeded", 1.5)


def test_a_running_task_has_the_seconds_since_it_was_heard_of() -> None:
    moments = iter([10.0])
    outcomes = Outcomes("r", lambda: next(moments))
    outcomes.event(event("running"))
    assert outcomes.tasks["t"].seconds(12.5) == 2.5


def test_a_bad_end_without_its_event_is_waited_for_and_a_good_one_is_not() -> None:
    outcomes = Outcomes("r")
    outcomes.reply({"tasksStarted": [entry(result="failed")]})
    assert outcomes.unreported()
    outcomes.event(event("failed", scriptLog=["x"]))
    assert not outcomes.unreported()
    outcomes = Outcomes("r")
    outcomes.reply({"tasksStarted": [entry(result="succeeded")]})
    assert not outcomes.unreported()


def test_the_last_reply_is_completed_with_what_only_events_tell() -> None:
    outcomes = Outcomes("r")
    outcomes.event(event("aborted", reason="timeout", details=["a"], node="n"))
    answer = {"status": "ok", "tasksStarted": [entry(result="aborted")]}
    assert outcomes.complete(answer)["tasksStarted"] == [
        {**entry(result="aborted"), "reason": "timeout", "details": ["a"]}
    ]


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ({"status": "ok", "outcome": "succeeded", "tasksStarted": [entry(result="succeeded")]}, True),
        ({"status": "ok", "outcome": "succeeded", "tasksStarted": [], "tasksSkipped": [entry()]}, True),
        ({"status": "ok", "outcome": "partial", "tasksStarted": [entry(result="succeeded")]}, False),
        ({"status": "ok", "outcome": "failed", "tasksStarted": [entry(result="failed")]}, False),
        ({"status": "ok", "tasksStarted": [entry(result="succeeded")]}, False),
        ({"error": "Request expired", "code": "expired"}, False),
    ],
)
def test_a_reply_reports_success_by_its_outcome_alone(answer: dict[str, Any], good: bool) -> None:
    assert succeeded(answer) is good


# ---- the command


def test_it_ends_with_0_when_every_task_has_succeeded(place: Place, qlik: Qlik) -> None:
    tasks = qlik.tasks(2, durationSeconds=1, tags=["wait ok"])
    code, out, err = call(place.daemon, "--tag", "wait ok", "--request-id", "wait-ok")
    assert (code, err) == (0, ""), out
    assert "2 of 2 succeeded" in out
    assert out.count(" succeeded ") >= 2
    assert [qlik.executions(task) for task in tasks] == [1, 1]
    assert "request wait-ok came again" not in place.daemon.log()


def test_it_speaks_mqtt_3_1_1_too(each: Place, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=1)
    code, out, err = call(each.daemon, "--task-id", task, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tasksStarted"][0]["result"] == "succeeded"


def test_a_failure_is_shown_with_its_reason_and_the_end_of_its_log(place: Place, qlik: Qlik) -> None:
    good = qlik.task("Good one", tags=["wait mixed"])
    bad = qlik.task("Bad one", tags=["wait mixed"], result="fail", scriptLog=LOG)
    code, out, _ = call(place.daemon, "--tag", "wait mixed")
    assert code == 1
    assert "1 of 2 succeeded" in out
    assert "Bad one: failed" in out
    assert "FinishedFail" in out
    assert "Error: field not found" in out
    assert [qlik.executions(task) for task in (good, bad)] == [1, 1]


def test_with_json_it_prints_one_line_with_everything(place: Place, qlik: Qlik) -> None:
    bad = qlik.task(result="fail", scriptLog=LOG)
    code, out, _ = call(place.daemon, "--task-id", bad, "--json")
    assert (code, out.count("\n")) == (1, 1)
    [only] = json.loads(out)["tasksStarted"]
    assert only["result"] == "failed"
    assert [line.partition("  ")[2] for line in only["scriptLog"]] == LOG
    assert only["details"]


def test_what_is_not_found_or_expired_does_not_count_as_succeeded(place: Place, qlik: Qlik) -> None:
    task, busy = qlik.task(), qlik.task(result="never")
    qlik.begin(busy)
    code, out, _ = call(place.daemon, "--task-id", task, "--tag", "nobody has it")
    assert (code, "nobody has it not found" in out) == (1, True)
    code, out, _ = call(place.daemon, "--task-id", busy, "--expires-at", soon(3))
    assert (code, "expired" in out) == (1, True)
    qlik.end(busy)


def test_what_is_left_alone_as_asked_counts_as_succeeded(place: Place, qlik: Qlik) -> None:
    busy = qlik.task("Left alone", result="never")
    qlik.begin(busy)
    code, out, _ = call(place.daemon, "--task-id", busy, "--if-running", "skip")
    assert (code, "alreadyRunning" in out) == (0, True)
    assert "0 of 1 succeeded, outcome: succeeded" in out
    assert "Left alone: " not in out
    qlik.end(busy)


def test_a_refusal_and_a_dry_run_need_no_waiting(place: Place, qlik: Qlik) -> None:
    task = qlik.task()
    assert call(place.daemon, "--task-id", "abc")[0] == 1
    code, out, _ = call(place.daemon, "--task-id", task, "--dry-run")
    assert (code, "wouldStart" in out) == (0, True)
    assert qlik.executions(task) == 0


def test_it_waits_behind_a_foreign_run(place: Place, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=2)
    qlik.begin(task)
    code, out, _ = call(place.daemon, "--task-id", task)
    assert (code, "1 of 1 succeeded" in out) == (0, True)
    assert qlik.executions(task) == 2


def test_it_shows_the_end_although_the_daemon_is_killed_twice_on_the_way(daemon: Daemon, qlik: Qlik) -> None:
    task = qlik.task(durationSeconds=3, result="fail", scriptLog=LOG)
    qlik.begin(task)
    with started(daemon, "--task-id", task) as process:
        daemon.wait_row(ANSWERED)
        daemon.kill()
        daemon.start()
        until_begun(qlik, task, 2)
        daemon.wait_row("SELECT id FROM runs WHERE state = 'executing'")
        daemon.kill()
        qlik.until_idle(task)
        daemon.start()
        code, out, err = outcome(process)
    assert (code, err) == (1, "")
    assert "Error: field not found" in out
    assert qlik.executions(task) == 2


def test_it_goes_on_when_the_broker_was_away(
    make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    daemon = make_daemon(broker).start()
    with Relay(broker.port) as relay:
        other = make_daemon(relay.port)
        task = qlik.task(durationSeconds=4)
        with started(other, "--task-id", task) as process:
            daemon.wait_row(RUNNING)
            relay.cut()
            code, out, err = outcome(process)
    assert (code, err) == (0, ""), out
    assert "1 of 1 succeeded" in out
    assert qlik.executions(task) == 1


def test_interrupted_it_says_that_the_request_goes_on(daemon: Daemon, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    with started(daemon, "--task-id", task, "--request-id", "goes-on") as process:
        daemon.wait_row(RUNNING)
        process.send_signal(signal.SIGINT)
        code, _, err = outcome(process)
    assert code == 1
    assert "goes-on continues without this command" in err
    qlik.end(task)


def test_on_a_terminal_the_table_lives(daemon: Daemon, qlik: Qlik) -> None:
    task = qlik.task("Seen alive", durationSeconds=3)
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                seen.extend(data)
        except OSError:
            pass  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with started(daemon, "--task-id", task, stderr=theirs) as process:
            until(lambda: b"running" in seen and b"Seen alive" in seen, seconds=20, what="the live table")
            out, _ = process.communicate(timeout=120)
    finally:
        os.close(theirs)
        reader.join(5)
        os.close(ours)
    assert "1 of 1 succeeded" in out


def test_stages_are_shown_with_their_tasks_and_a_failure_stops_the_rest(daemon: Daemon, qlik: Qlik) -> None:
    first = qlik.task("Extract", tags=["extract"], durationSeconds=0.5)
    second = qlik.task("Transform", durationSeconds=0.5, result="fail", scriptLog=LOG)
    third = qlik.task("Publish")
    stages = [f"name=extract,taskId={first}", f"taskId={second}", f"name=publish,taskId={third}"]
    arguments = [argument for stage in stages for argument in ("--stage", stage)]
    code, out, _ = call(daemon, *arguments, "--request-id", "night")
    assert code == 1
    assert "1 of 3 succeeded, outcome: partial" in out
    lines = [line.strip() for line in out.splitlines()]
    shown = [line for line in lines if line.startswith("stage ") and ":" in line]
    assert shown == [
        "stage 1 extract: succeeded, 1 task",
        "stage 2: failed, 1 task",
        "stage 3 publish: notStarted, 1 task",
    ]
    assert [line[:9] for line in lines if line.startswith(("1 ", "2 ", "3 "))] == [
        "1 extract",
        "2        ",
        "3 publish",
    ]
    assert "previous_stage_failed" in out
    assert [qlik.executions(task) for task in (first, second, third)] == [1, 1, 0]


def test_stages_can_be_rehearsed_and_resolved(daemon: Daemon, qlik: Qlik) -> None:
    first, second = qlik.task("Extract, all"), qlik.task("Publish")
    arguments = [
        "--stage",
        "taskName=Extract, all,name=one",
        "--stage",
        f"taskId={second},onFailure=continue",
    ]
    code, out, _ = call(daemon, *arguments, "--dry-run")
    assert code == 0
    assert "Extract, all" in out
    command = [sys.executable, "-m", "butler_mqtt", "resolve", "-c", str(daemon.config_file), "--json"]
    answer = json.loads(programs.run([*command, *arguments]).stdout)
    assert [(one["taskId"], one["stage"]) for one in answer["tasks"]] == [(first, 1), (second, 2)]
