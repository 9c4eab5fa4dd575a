"""`start` and `resolve` against a real broker, daemon and simulator; config.yaml as the README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests import programs
from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, START, Sender
from tests.brokers import Mosquitto, free_port, until
from tests.project import ROOT


def call(daemon: Daemon, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "butler_mqtt", command]
    return programs.run([*program, "-c", daemon.config_file, *arguments])


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """Read what --json printed: one line."""
    assert done.stdout.count("\n") == 1, done
    return json.loads(done.stdout)


# ---- start


def test_start_asks_the_daemon_and_shows_its_reply(each: Place, qlik: Qlik) -> None:
    task = qlik.task("Sales by tag", tags=[f"cli {each.version}"])
    done = call(each.daemon, "start", "--tag", f"cli {each.version}")
    assert done.returncode == 0, done
    assert ": ok, 1 started" in done.stdout
    (execution_id,) = qlik.execution_ids(task)
    assert re.search(rf"Sales by tag +started +{execution_id} +{task}", done.stdout)
    assert done.stderr == ""


def test_start_with_json_prints_the_reply_as_one_line(each: Place, qlik: Qlik) -> None:
    name = f"Once for {each.version}"
    task = qlik.task(name)
    options = ["--task-id", task, "--task-name", name, "--request-id", f"cli-{task}", "--sender", "test"]
    first = call(each.daemon, "start", "--json", *options)
    again = call(each.daemon, "start", "--json", *options)
    reply = answer(first)
    assert (reply["requestId"], reply["status"], reply["totalTasksStarted"]) == (f"cli-{task}", "ok", 1)
    assert answer(again) == reply
    assert qlik.executions(task) == 1


def test_start_of_what_is_in_part_unknown_ends_with_1(place: Place, qlik: Qlik) -> None:
    task = qlik.task(customProperties={"cliGroup": "a=b"})
    pairs = ["--custom-property", "cliGroup=a=b", "--custom-property", "cliGroup=none"]
    done = call(place.daemon, "start", *pairs)
    assert done.returncode == 1, done
    assert "customProperty cliGroup=none  not found" in done.stdout
    assert qlik.executions(task) == 1


def test_start_with_all_must_exist_starts_nothing_when_something_is_missing(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    done = call(each.daemon, "start", "--task-id", task, "--tag", "no such", "--all-must-exist")
    assert done.returncode == 1, done
    assert "(all_must_exist)" in done.stdout
    assert qlik.posts(task) == 0


def test_start_that_is_refused_ends_with_1_and_says_why(each: Place) -> None:
    done = call(each.daemon, "start", "--task-id", "abc")
    assert done.returncode == 1, done
    assert "was refused: Invalid task ID format (invalid_task_id)" in done.stdout
    assert "is 'abc'" in done.stdout


def test_start_with_dry_run_and_match_starts_nothing(place: Place, qlik: Qlik) -> None:
    both = qlik.task("Has both", tags=["cli one", "cli two"])
    one = qlik.task("Has one", tags=["cli one"])
    options = ["--tag", "cli one", "--tag", "cli two", "--match", "tag=all", "--dry-run"]
    done = call(place.daemon, "start", "--json", *options)
    assert done.returncode == 0, done
    assert [task["taskId"] for task in answer(done)["tasksWouldStart"]] == [both]
    assert qlik.posts(both) == qlik.posts(one) == 0


def test_start_with_if_running_skip_leaves_a_running_task_alone(place: Place, qlik: Qlik) -> None:
    task = qlik.task(result="never")
    qlik.begin(task)
    done = call(place.daemon, "start", "--task-id", task, "--if-running", "skip")
    qlik.end(task)
    assert done.returncode == 0, done
    assert "alreadyRunning" in done.stdout


def test_start_that_has_expired_is_refused(place: Place, qlik: Qlik) -> None:
    task = qlik.task()
    done = call(place.daemon, "start", "--task-id", task, "--expires-at", "2020-01-01T00:00:00Z")
    assert done.returncode == 1, done
    assert "(expired)" in done.stdout
    assert qlik.posts(task) == 0


def test_names_of_tasks_are_shown_as_they_are_and_cannot_move_the_cursor(place: Place, qlik: Qlik) -> None:
    qlik.task("[red]Söhne[/red] \x1b[31m", tags=["cli markup"])
    done = call(place.daemon, "start", "--tag", "cli markup", "--dry-run")
    assert "[red]Söhne[/red] \\x1b[31m" in done.stdout


def test_start_without_a_broker_ends_with_69(broker: Mosquitto, make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(free_port())
    done = call(daemon, "start", "--tag", "a")
    assert done.returncode == 69, done
    assert "cannot be reached" in done.stderr


def test_start_where_no_daemon_ever_was_ends_with_69_at_once(
    broker: Mosquitto, make_daemon: Callable[..., Daemon]
) -> None:
    done = call(make_daemon(broker), "start", "--tag", "a", "--timeout", "600")
    assert done.returncode == 69, done
    assert "nobody is subscribed to qliksense/task/start" in done.stderr
    assert "no daemon has ever shown itself" in done.stderr
    assert "Start the daemon, then send it again" in done.stderr


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_start_while_the_daemon_is_away_says_so_and_is_carried_out_later(
    version: str, broker: Mosquitto, make_daemon: Callable[..., Daemon], qlik: Qlik
) -> None:
    task = qlik.task()
    daemon = make_daemon(broker, mqttConfig={"protocolVersion": version}).start()
    assert daemon.stop() == 0
    options = ["--task-id", task, "--request-id", "later"]
    done = call(daemon, "start", *options, "--timeout", "0.5")
    assert done.returncode == 69, done
    assert "no reply to request later within 0.5 s" in done.stderr
    assert "is offline" in done.stderr
    daemon.start()
    until(lambda: qlik.executions(task) == 1, what="the request is carried out")
    assert call(daemon, "start", *options).returncode == 0
    assert qlik.executions(task) == 1


def test_start_while_the_qlik_server_is_unreachable_says_so(
    broker: Mosquitto, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon(broker, configQRS={"port": free_port()}).start()
    daemon.wait_log("is not reached")
    # The retained status follows the log within half a second.
    done = call(daemon, "start", "--tag", "a", "--timeout", "3")
    assert done.returncode == 69, done
    assert "is online and does not reach the Qlik server: the request waits for it" in done.stderr


# ---- resolve


def test_resolve_shows_what_a_request_means_and_starts_nothing(
    broker: Mosquitto, make_daemon: Callable[..., Daemon], qlik: Qlik
) -> None:
    free, runs, off, denied = (
        qlik.task("Free", tags=["cli resolve", "allowed"]),
        qlik.task("Runs", tags=["cli resolve", "allowed"], result="never"),
        qlik.task("Off", tags=["cli resolve", "allowed"], enabled=False),
        qlik.task("Denied", tags=["cli resolve"]),
    )
    execution_id = qlik.begin(runs)
    before = qlik.total()
    allow = {"enable": True, "allowTask": {"tag": ["allowed"]}}
    daemon = make_daemon(broker, startTaskFilter=allow)
    options = ["--tag", "cli resolve", "--tag", "no such"]
    done = call(daemon, "resolve", "--json", *options)
    table = call(daemon, "resolve", *options)
    assert qlik.total() == before
    qlik.end(runs)
    assert done.returncode == table.returncode == 0, (done, table)
    found = answer(done)
    assert found["status"] == "partial"
    assert {task["taskId"]: task["status"] for task in found["tasks"]} == {
        free: "wouldStart",
        runs: "running",
        off: "disabled",
    }
    assert [task["taskId"] for task in found["tasksDenied"]] == [denied]
    assert found["tasksNotFound"] == [{"tag": "no such"}]
    for line in (
        "Free +wouldStart",
        f"Runs +running +{execution_id}",
        "Denied +denied",
        "tag no such +not found",
    ):
        assert re.search(line, table.stdout), table.stdout


def test_resolve_of_what_means_no_task_ends_with_1(place: Place) -> None:
    done = call(place.daemon, "resolve", "--json", "--tag", "no such")
    assert done.returncode == 1, done
    assert answer(done)["tasksNotFound"] == [{"tag": "no such"}]


def test_resolve_of_what_would_be_refused_ends_with_1_and_says_why(place: Place, qlik: Qlik) -> None:
    qlik.task("Two of a name")
    qlik.task("Two of a name")
    done = call(place.daemon, "resolve", "--task-name", "Two of a name")
    assert done.returncode == 1, done
    assert "the request was refused: Ambiguous task name (ambiguous_task_name)" in done.stdout


def test_resolve_without_a_qlik_server_ends_with_69(
    broker: Mosquitto, make_daemon: Callable[..., Daemon]
) -> None:
    daemon = make_daemon(broker, configQRS={"port": free_port()})
    done = call(daemon, "resolve", "--tag", "a")
    assert done.returncode == 69, done
    assert "check configQRS.host" in done.stderr
    assert done.stdout == ""


# ---- the file of the README


def test_config_yaml_with_host_names_edited_serves_a_request_from_mosquitto_pub(
    broker: Mosquitto, make_daemon: Callable[..., Daemon], qlik: Qlik
) -> None:
    qlik.task("Daily sales", tags=["daily-reports"])
    daemon = make_daemon(broker)
    text = (ROOT / "config.yaml").read_text()
    # The ports are the test's; on a real site they are the usual ones, as in the file.
    for old, new in (
        ("host: sense.example.com", f"host: {qlik.host}"),
        ("port: 4242", f"port: {qlik.port}"),
        ("brokerPort: 1883", f"brokerPort: {broker.port}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert yaml.safe_load(text)["Butler"]["mqttConfig"]["brokerHost"] == "localhost"
    daemon.config_file.write_text(text)
    for file in ("client.pem", "client_key.pem", "root.pem"):
        shutil.copy(qlik.simulator.certs / file, daemon.folder)
    daemon.start()
    with Sender(broker.port, "5") as sender:
        message = ["-t", START, "-m", '{"tag":["daily-reports"]}']
        subprocess.run(
            ["mosquitto_pub", "-h", "localhost", "-p", str(broker.port), "-q", "1", *message], check=True
        )
        reply = sender.answer(REPLY)
    assert reply["status"] == "ok"
    assert [task["taskName"] for task in reply["tasksStarted"]] == ["Daily sales"]
