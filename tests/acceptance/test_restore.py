"""The installed program: a backup put back starts nothing of what waited in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests import programs
from tests.acceptance.killing import MakeDaemon
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until


def requests(daemon: Daemon, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "butler_mqtt", "requests"]
    done = programs.run([*command, "-c", daemon.config_file, *arguments])
    assert done.returncode == 0, done
    return done


def test_what_waited_when_the_backup_was_made_starts_only_when_somebody_says_so(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    """Six wait behind executions of others, are backed up, run, and are put back: none runs again."""
    daemon = make_daemon(broker).start()
    copy = tmp_path / "copy.sqlite"
    tasks = qlik.tasks(6, durationSeconds=600)
    with Sender(broker.port, "5") as sender:
        for number, task in enumerate(tasks):
            qlik.begin(task)
            sender.send({"taskId": task, "requestId": f"wait-{number}"})
        until(lambda: daemon.rows("SELECT count(*) FROM starts WHERE state = 'waiting'") == [(6,)])
        requests(daemon, "backup", copy)
        for task in tasks:
            qlik.end(task)
        until(lambda: daemon.rows("SELECT count(*) FROM starts WHERE state = 'running'") == [(6,)])
        for task in tasks:
            qlik.end(task)
        before = [qlik.executions(task) for task in tasks]
        daemon.stop()
        assert "requests held: 6\n" in requests(daemon, "restore", copy).stdout
        daemon.start()
        daemon.wait_log("6 requests are held since a backup was restored")
        # A request of today is served, which takes as long as those held would have.
        new = qlik.task()
        assert sender.ask({"taskId": new, "requestId": "new"})["totalTasksStarted"] == 1
        qlik.until_idle(new)
        until(lambda: daemon.rows("SELECT 1 FROM runs WHERE state = 'ended'") != [])
        assert [qlik.executions(task) for task in tasks] == before
        listed = map(json.loads, requests(daemon, "--held", "--json").stdout.splitlines())
        assert sorted(one["requestId"] for one in listed) == [f"wait-{number}" for number in range(6)]
        requests(daemon, "resume", "wait-2")
        until(lambda: qlik.executions(tasks[2]) == before[2] + 1)
        requests(daemon, "resume", "--all", "--discard")
        until(lambda: daemon.rows("SELECT count(*) FROM starts WHERE state = 'cancelled'") == [(5,)])
        after = [qlik.executions(task) for task in tasks]
        assert [now - then for now, then in zip(after, before, strict=True)] == [0, 0, 1, 0, 0, 0]
        for task in tasks:
            qlik.end(task)
