"""The installed daemon, killed and asked again: what its journal tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from butler_mqtt.audit.requests_timeline import steps
from butler_mqtt.journal.search import Search
from tests import programs
from tests.acceptance.killing import MakeDaemon
from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon, Qlik, journal_rows
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until

#: Requests of the burst in which the daemon is killed.
BURST = 500


def requests(daemon: Daemon, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "butler_mqtt", "requests"]
    return programs.run([*command, "-c", daemon.config_file, *arguments])


def timeline(daemon: Daemon, request_id: str) -> dict[str, Any]:
    done = requests(daemon, "--json", request_id)
    assert done.returncode == 0, done
    (told,) = json.loads(done.stdout)["requests"]
    return dict(told)


def test_after_a_kill_in_mid_burst_every_request_tells_the_whole_story(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon
) -> None:
    daemon = make_daemon(broker, configQRS={"readTimeoutSeconds": 30}).start()
    tasks = qlik.tasks(BURST)
    # The killed daemon finds out what became of one start that had its effect and lost its answer.
    qlik.fault("cut", method="POST", taskId=tasks[5], when="after")
    # One is on its way at the kill, whenever that is.
    qlik.fault("hang", method="POST", taskId=tasks[BURST // 3], when="before", seconds=30)
    with Sender(broker.port, "5") as sender:
        for number, task in enumerate(tasks):
            sender.send({"taskId": task, "requestId": f"burst-{number}"})
        daemon.wait_row("SELECT 1 FROM requests WHERE state = 'closed' LIMIT 1 OFFSET 170")
        daemon.kill()
        daemon.start()
        daemon.wait_row("SELECT 1 FROM deliveries WHERE confirmed_at IS NOT NULL LIMIT 1 OFFSET 499")
    until(lambda: not daemon.rows("SELECT 1 FROM runs WHERE state != 'ended'"), seconds=60)
    until(lambda: not daemon.rows("SELECT 1 FROM outbox"), seconds=60)
    assert [qlik.executions(task) for task in tasks[::25]] == [1] * len(tasks[::25])
    done = requests(daemon, "export")
    log = {one["requestId"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert set(log) == {f"burst-{number}" for number in range(BURST)}
    with Search(daemon.journal) as search:
        stories = {one.request["request_id"]: steps(one) for one in search.each(None, None)}
    for timeline in stories.values():
        told = [step.step for step in timeline]
        assert {"arrived", "decided", "intended", "began", "closed", "replied", "delivered", "ended"} <= set(
            told
        )
        assert [step.time for step in timeline] == sorted(step.time for step in timeline)
    [began_again] = {
        step.time for timeline in stories.values() for step in timeline if step.step == "restarted"
    }
    for timeline in stories.values():
        times = {step.step: step.time for step in timeline}
        # Told by those, and only those, of which something was still to come.
        assert ("restarted" in times) == (times["arrived"] < began_again <= max(times.values()))
    doubts = daemon.rows(
        "SELECT request_id, runs.details FROM requests JOIN starts ON starts.request = requests.id "
        "JOIN runs ON runs.id = starts.run WHERE runs.details IS NOT NULL"
    )
    assert any("the daemon ended" in why for _, why in doubts)
    for request_id, why in doubts:
        told = [step.step for step in stories[request_id]]
        times = {step.step: step.time for step in stories[request_id]}
        assert times["intended"] <= times["inDoubt"] <= times["looked"] <= times["began"], told
        if "the daemon ended" in why:
            assert began_again - 1000 <= times["inDoubt"]
            assert "restarted" in told
    shown = requests(daemon, doubts[-1][0]).stdout
    assert "was started again" in shown
    assert "the Qlik server showed" in shown


def test_a_redelivery_after_a_kill_is_told(qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    with Relay(broker.port) as relay, Sender(broker.port, "5") as sender:
        daemon = make_daemon(relay.port).start()
        relay.hold_up()
        topic = sender.send({"taskId": qlik.task(), "requestId": "erp-1"})
        daemon.wait_row("SELECT id FROM deliveries")
        daemon.kill()
        relay.cut()
        relay.flow()
        daemon.start()
        sender.answer(topic)
        daemon.wait_row("SELECT 1 FROM notes WHERE kind = 'redelivered'")
    words = [step["step"] for step in timeline(daemon, "erp-1")["steps"]]
    assert words.count("arrived") == words.count("redelivered") == words.count("restarted") == 1


def test_a_backup_made_while_the_daemon_writes_is_whole(
    qlik: Qlik,
    broker: Mosquitto,
    make_daemon: MakeDaemon,
    tmp_path: Path,
) -> None:
    daemon = make_daemon(broker).start()
    target = tmp_path / "copy.sqlite"
    task = qlik.task()
    with Sender(broker.port, "5") as sender:
        for number in range(300):
            sender.send({"taskId": task, "requestId": f"copy-{number}", "dryRun": True})
        daemon.wait_row("SELECT 1 FROM requests")
        done = requests(daemon, "backup", target)
        assert done.returncode == 0, done
        until(lambda: daemon.rows("SELECT count(*) FROM requests WHERE state = 'closed'") == [(300,)])
    assert "checked" in done.stdout
    copied = journal_rows(target, "SELECT count(*) FROM requests")[0][0]
    assert 0 < copied <= 300
    assert journal_rows(
        target, "SELECT count(*) FROM requests WHERE id NOT IN (SELECT request FROM deliveries)"
    ) == [(0,)]
    assert len(requests(daemon, "export", "--journal", target).stdout.splitlines()) == copied


def test_a_retry_is_a_new_request_that_names_the_old(
    qlik: Qlik,
    broker: Mosquitto,
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon(broker).start()
    good, bad = qlik.task("Good", tags=["both"]), qlik.task("Bad", tags=["both"], enabled=False)
    with Sender(broker.port, "5") as sender:
        sender.send({"tag": "both", "requestId": "erp-1", "sender": "erp"})
        daemon.wait_row("SELECT 1 FROM requests WHERE state = 'closed'")
    qlik.admin("PUT", f"/tasks/{bad}", {"id": bad, "name": "Bad", "tags": ["both"]})
    done = requests(daemon, "retry", "erp-1", "--json")
    assert done.returncode == 0, done
    reply = json.loads(done.stdout)
    assert [task["taskId"] for task in reply["tasksStarted"]] == [bad]
    assert (qlik.executions(good), qlik.executions(bad)) == (1, 1)
    assert daemon.rows("SELECT sender FROM requests ORDER BY id") == [("erp",), ("retry of erp-1",)]
    assert f"retried by request {reply['requestId']}" in requests(daemon, "erp-1").stdout


def test_a_retry_after_a_conflict_starts_the_tasks_of_the_request_named(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon
) -> None:
    """Fails when the newest request with the id is taken: the one that was refused, for other tasks."""
    daemon = make_daemon(broker).start()
    failed, other = qlik.task("Failed", enabled=False), qlik.task("Other")
    with Sender(broker.port, "5") as sender:
        sender.ask({"taskId": failed, "requestId": "erp-1"})
        assert sender.ask({"taskId": other, "requestId": "erp-1"})["code"] == "request_id_conflict"
    qlik.admin("PUT", f"/tasks/{failed}", {"id": failed, "name": "Failed"})
    unclear = requests(daemon, "retry", "erp-1", "--json")
    assert (unclear.returncode, unclear.stdout) == (1, "")
    assert (qlik.executions(failed), qlik.executions(other)) == (0, 0)
    done = requests(daemon, "retry", "erp-1", "--number", "1", "--json")
    assert done.returncode == 0, done
    assert (qlik.executions(failed), qlik.executions(other)) == (1, 0)
