"""The installed daemon, killed and asked again: what its journal tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.killing import MakeDaemon
from tests.acceptance.rig import Daemon, Qlik, journal_rows
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until


def requests(daemon: Daemon, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "butler_mqtt",
            "requests",
            "-c",
            str(daemon.config_file),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def story(daemon: Daemon, request_id: str) -> dict[str, Any]:
    done = requests(daemon, "--json", request_id)
    assert done.returncode == 0, done
    (told,) = json.loads(done.stdout)["requests"]
    return dict(told)


def words(told: dict[str, Any]) -> list[str]:
    return [step["step"] for step in told["steps"]]


def test_after_a_kill_in_mid_burst_every_request_tells_the_whole_story(
    qlik: Qlik,
    broker: Mosquitto,
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon(broker).start()
    tasks = qlik.tasks(40)
    # The killed daemon finds out what became of one start that had its effect and lost its answer.
    qlik.fault("cut", method="POST", taskId=tasks[5], when="after")
    with Sender(broker.port, "5") as sender:
        for number, task in enumerate(tasks):
            sender.send({"taskId": task, "requestId": f"burst-{number}"})
        daemon.wait_row("SELECT 1 FROM runs WHERE state = 'executing' OR state = 'ended' LIMIT 1")
        daemon.kill()
        daemon.start()
        until(
            lambda: daemon.rows("SELECT count(*) FROM deliveries WHERE confirmed_at IS NOT NULL") == [(40,)],
            seconds=60,
            what=daemon.log(),
        )
    until(lambda: not daemon.rows("SELECT 1 FROM runs WHERE state != 'ended'"), seconds=30)
    until(lambda: not daemon.rows("SELECT 1 FROM outbox"), seconds=30)
    doubts = 0
    for number, task in enumerate(tasks):
        told = story(daemon, f"burst-{number}") if number % 8 == 0 else None
        assert qlik.executions(task) == 1
        if told is None:
            continue
        for word in ("arrived", "decided", "intended", "began", "closed", "replied", "delivered", "ended"):
            assert word in words(told), told["steps"]
    for (request_id,) in daemon.rows(
        "SELECT request_id FROM requests JOIN starts ON starts.request = requests.id "
        "JOIN runs ON runs.id = starts.run WHERE runs.details IS NOT NULL"
    ):
        doubts += 1
        told = story(daemon, request_id)
        assert "inDoubt" in words(told)
        assert words(told).index("inDoubt") < words(told).index("began")
        assert any("settled: " in step["text"] for step in told["steps"])
    assert doubts >= 1
    # Nothing is hidden from the audit log either.
    done = requests(daemon, "export")
    log = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["requestId"] for one in log} == {f"burst-{number}" for number in range(40)}


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
    assert f"asked for again by request {reply['requestId']}" in requests(daemon, "erp-1").stdout
