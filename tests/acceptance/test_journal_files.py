"""Files of the journal are deleted, replaced or cut under the daemon: nothing is acknowledged into them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.acceptance.test_journal import acknowledged
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]


def delete_all(journal: Path) -> None:
    for file in journal.parent.glob("journal.sqlite*"):
        file.unlink()


def delete_database(journal: Path) -> None:
    journal.unlink()


def delete_log(journal: Path) -> None:
    Path(f"{journal}-wal").unlink()


def replace(journal: Path) -> None:
    copy = shutil.copy(journal, f"{journal}.copy")
    Path(copy).rename(journal)


def cut_database(journal: Path) -> None:
    os.truncate(journal, 0)


def cut_log(journal: Path) -> None:
    os.truncate(f"{journal}-wal", 0)


def rename_folder(journal: Path) -> None:
    journal.parent.rename(f"{journal.parent}.old")


@pytest.mark.parametrize(
    ("happens", "named"),
    [
        (delete_all, "was deleted or moved away"),
        (delete_database, "was deleted or moved away"),
        (delete_log, "-wal was deleted or moved away"),
        (replace, "was replaced by another"),
        (cut_database, "was cut"),
        (cut_log, "-wal was cut"),
        (rename_folder, "was deleted or moved away"),
    ],
)
def test_the_daemon_notices_ends_with_73_and_the_broker_keeps_what_comes(
    make_daemon: MakeDaemon,
    broker: Mosquitto,
    qlik: Qlik,
    tmp_path: Path,
    happens: Callable[[Path], None],
    named: str,
) -> None:
    """Fails when a commit into a file without a name is taken for durable."""
    tasks = qlik.tasks(3)
    folder = tmp_path / "state"
    folder.mkdir()
    journal = folder / "journal.sqlite"
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{journal}"})
    daemon.start()
    with Sender(broker.port) as sender:
        sender.drain()
        before = acknowledged(broker)
        happens(journal)
        topics = [sender.send({"taskId": task}) for task in tasks]
        line = daemon.wait_log(named)
        assert "[action=journal_failed]" in line
        assert daemon.wait() == 73
        assert acknowledged(broker) == before
        assert [qlik.posts(task) for task in tasks] == [0] * 3
        # The operator mends it, here by beginning anew, and the broker hands over what nobody acknowledged.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        daemon.start()
        for topic in topics:
            assert sender.answer(topic)["totalTasksStarted"] == 1
    assert [qlik.posts(task) for task in tasks] == [1] * 3


def test_after_the_log_was_deleted_the_next_start_knows_all_that_was_acknowledged(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Fails when the log is lost with the process: the next one would start all tasks again."""
    tasks = qlik.tasks(5)
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        for number, task in enumerate(tasks):
            body = {"taskId": task, "requestId": f"known-{number}"}
            assert sender.answer(sender.send(body))["totalTasksStarted"] == 1
        delete_log(daemon.journal)
        assert daemon.wait() == 73
        assert daemon.wait_logged("nothing of it is lost") == 1
        daemon.start()
        for number, task in enumerate(tasks):
            body = {"taskId": task, "requestId": f"known-{number}"}
            assert sender.answer(sender.send(body))["totalTasksStarted"] == 1
    assert [qlik.posts(task) for task in tasks] == [1] * 5


def test_a_read_only_folder_with_the_journal_beside_the_configuration_names_the_key_that_moves_it(
    make_daemon: MakeDaemon, broker: Mosquitto
) -> None:
    daemon = make_daemon(broker)
    daemon.config["journal"] = {}
    daemon.configure()
    # Of another user, as /etc is for a service; root alone could write there all the same.
    run = [sys.executable, "-m", "butler_mqtt", "run", "-c", str(daemon.config_file)]
    name_space = [
        "unshare",
        "--mount",
        "sh",
        "-euc",
        'mount --bind "$0" "$0"; mount -o remount,ro,bind "$0"; exec "$@"',
    ]
    done = subprocess.run(
        [*name_space, str(daemon.folder), *run], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 73, done.stderr
    assert "Read-only file system" in done.stderr
    assert "set journal.url to a file in a folder that can be written" in done.stderr
    assert "$STATE_DIRECTORY" in done.stderr
