"""The journal cannot be written or read: said exactly, and nothing is acknowledged that is not stored."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.journal.sqlite import FORMAT
from tests.acceptance.rig import READY, Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.brokers import Mosquitto, until
from tests.integration.simulator.running import Client

MakeDaemon = Callable[..., Daemon]
MIB = 1024 * 1024
CANNOT = "cannot be used"


def acknowledged(broker: Mosquitto) -> int:
    """Count the requests that the broker got a PUBACK for."""
    return broker.log().count("Received PUBACK from butler-mqtt (")


def nothing_can_be_written(daemon: Daemon) -> None:
    """Let every write to a file fail from now on, as a broken disk does."""
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1, hard))


def all_can_be_written(daemon: Daemon) -> None:
    _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def sender(broker: Mosquitto) -> Iterator[Sender]:
    with Sender(broker.port) as sender:
        yield sender


def test_what_cannot_be_stored_is_not_acknowledged_and_is_carried_out_once_it_can_be(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Fails when a message is acknowledged before the transaction that stores it."""
    tasks = qlik.tasks(5)
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        sender.drain()
        before = acknowledged(broker)
        nothing_can_be_written(daemon)
        mark = daemon.mark()
        topics = [sender.send({"taskId": task}) for task in tasks]
        daemon.wait_log(CANNOT, since=mark)
        assert acknowledged(broker) == before
        assert [qlik.posts(task) for task in tasks] == [0] * 5
        assert daemon.runs()
        all_can_be_written(daemon)
        daemon.wait_log("can be written again", since=mark)
        for topic in topics:
            assert sender.answer(topic)["totalTasksStarted"] == 1
        sender.drain()
        assert [len(sender.heard(topic)) for topic in topics] == [1] * 5
        assert acknowledged(broker) == before + 6
    assert [qlik.posts(task) for task in tasks] == [1] * 5


def test_killed_while_nothing_can_be_stored_the_broker_still_has_the_requests(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Fails when a message is acknowledged before the transaction that stores it."""
    task = qlik.task()
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        nothing_can_be_written(daemon)
        topic = sender.send({"taskId": task})
        daemon.wait_log(CANNOT)
        daemon.kill()
        daemon.start()
        assert sender.answer(topic)["totalTasksStarted"] == 1
    assert qlik.posts(task) == 1


@pytest.fixture
def before_the_intent(
    make_daemon: MakeDaemon, broker: Mosquitto, sender: Sender, qlik: Qlik
) -> Iterator[tuple[Daemon, str, str]]:
    """Give a daemon that fails to store an intent, the task it is about, and where the reply is expected."""
    task = qlik.task(result="never")
    qlik.switch(alreadyRunning="second")
    daemon = make_daemon(broker).start()
    # All its connections to the server are open then, so that a POST takes a millisecond.
    for topic in [sender.send({"taskId": one}) for one in qlik.tasks(12)]:
        sender.answer(topic)
    open_rows = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM runs WHERE ended_at IS NULL)"
    until(lambda: daemon.rows(open_rows) == [(0,)], what="nothing else is left to be stored")
    before = acknowledged(broker)
    fault = qlik.fault("slow", method="GET", path="/qrs/*task*", when="before", seconds=1)
    topic = sender.send({"taskId": task})
    until(lambda: qlik.struck(fault), what="the task is being looked for")
    until(lambda: acknowledged(broker) == before + 1, what="the request is stored and acknowledged")
    mark = daemon.mark()
    nothing_can_be_written(daemon)
    daemon.wait_log(CANNOT, since=mark)
    yield daemon, task, topic
    qlik.end(task)


def test_a_start_whose_intent_cannot_be_stored_is_posted_once_when_it_can_be(
    before_the_intent: tuple[Daemon, str, str], sender: Sender, qlik: Qlik
) -> None:
    """Fails when a start is handed over for its POST before the transaction that stores the intent."""
    daemon, task, topic = before_the_intent
    all_can_be_written(daemon)
    assert sender.answer(topic, seconds=30)["totalTasksStarted"] == 1
    sender.drain()
    assert (qlik.executions(task), len(qlik.start_calls(task))) == (1, 1)


def test_a_start_whose_intent_cannot_be_stored_is_not_posted_before_a_kill(
    before_the_intent: tuple[Daemon, str, str], sender: Sender, qlik: Qlik
) -> None:
    """Fails when a start is handed over for its POST before the transaction that stores the intent."""
    daemon, task, topic = before_the_intent
    for _ in range(3):
        # Each with a connection of its own, which takes longer than a POST on one that is open.
        client = Client(qlik.simulator)
        client.get("about")
        client.close()
    assert qlik.start_calls(task) == []
    daemon.kill()
    daemon.start()
    assert sender.answer(topic, seconds=30)["totalTasksStarted"] == 1
    assert (qlik.executions(task), len(qlik.start_calls(task))) == (1, 1)


def test_an_outcome_that_cannot_be_stored_is_not_told_and_not_forgotten(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Fails when a reply is published before the transaction that stores the outcome."""
    task = qlik.task()
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
        topic = sender.send({"taskId": task})
        until(lambda: qlik.struck(fault), what="the start is on its way")
        mark = daemon.mark()
        nothing_can_be_written(daemon)
        daemon.wait_log(CANNOT, since=mark)
        assert sender.heard(topic) == []
        all_can_be_written(daemon)
        [entry] = sender.answer(topic, seconds=30)["tasksStarted"]
        assert [entry["executionId"]] == qlik.execution_ids(task)
    assert len(qlik.start_calls(task)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB of its own; needs root, as the broker of these tests does in containers."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """Write a file that leaves so many bytes free."""
    file = folder / "filler"
    with file.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize) > leave:
            filler.write(b"\0" * min(MIB, free - leave))
    return file


def test_a_full_disk_is_said_and_withstood_and_work_goes_on_when_space_returns(
    make_daemon: MakeDaemon, broker: Mosquitto, small_disk: Path, qlik: Qlik
) -> None:
    task, other = qlik.task(), qlik.task()
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{small_disk}/journal.sqlite"})
    daemon.journal = small_disk / "journal.sqlite"
    daemon.start()
    with Sender(broker.port) as sender:
        sender.drain()
        fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
        topic = sender.send({"taskId": task})
        until(lambda: qlik.struck(fault), what="the start is on its way")
        before = acknowledged(broker)
        mark = daemon.mark()
        filler = fill(small_disk, leave=0)
        late = sender.send({"taskId": other})
        line = daemon.wait_log(CANNOT, since=mark)
        assert "disk is full" in line
        assert acknowledged(broker) == before
        filler.unlink()
        for one in (topic, late):
            assert sender.answer(one, seconds=30)["totalTasksStarted"] == 1
    assert [len(qlik.start_calls(one)) for one in (task, other)] == [1, 1]


def test_a_disk_that_runs_low_withholds_acknowledgements_and_finishes_what_is_open(
    make_daemon: MakeDaemon, broker: Mosquitto, small_disk: Path, qlik: Qlik
) -> None:
    task, other = qlik.task(), qlik.task()
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{small_disk}/journal.sqlite"})
    daemon.journal = small_disk / "journal.sqlite"
    daemon.start()
    with Sender(broker.port) as sender:
        fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1.5)
        topic = sender.send({"taskId": task})
        until(lambda: qlik.struck(fault), what="the start is on its way")
        filler = fill(small_disk, leave=8 * MIB)
        before = acknowledged(broker)
        assert sender.answer(topic)["totalTasksStarted"] == 1
        late = sender.send({"taskId": other})
        until(lambda: "'qliksense/task/start'" in broker.log(), what="the broker has sent it")
        assert (acknowledged(broker), qlik.posts(other)) == (before, 0)
        filler.unlink()
        assert sender.answer(late)["totalTasksStarted"] == 1
    assert daemon.runs()


def test_the_first_start_makes_the_journal(make_daemon: MakeDaemon, broker: Mosquitto) -> None:
    daemon = make_daemon(broker, makes_journal=True).start()
    assert daemon.logged(f"journal {daemon.journal} made, in format {FORMAT}") == 1


# ---- what cannot be mended ends with 73


def test_a_folder_in_place_of_the_journal_ends_with_73(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{tmp_path}"})
    assert daemon.start(ready=False).wait() == 73
    assert str(tmp_path) in daemon.log()


def test_a_folder_that_does_not_exist_ends_with_73(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{tmp_path}/none/journal.sqlite"})
    assert daemon.start(ready=False).wait() == 73
    assert "none" in daemon.log()


def test_a_read_only_file_system_ends_with_73(
    make_daemon: MakeDaemon, broker: Mosquitto, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    daemon = make_daemon(broker, journal={"url": f"sqlite:///{small_disk}/journal.sqlite"})
    assert daemon.start(ready=False).wait() == 73
    assert str(small_disk) in daemon.log()


def test_a_second_daemon_on_one_journal_ends_with_73_and_the_first_goes_on(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    first = make_daemon(broker).start()
    second = make_daemon(
        broker,
        journal={"url": f"sqlite:///{first.journal}"},
        mqttConfig={"clientId": "another"},
    )
    assert second.start(ready=False).wait() == 73
    assert "in use" in second.log()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": qlik.task()})["status"] == "ok"
    assert first.stop() == 0


@pytest.mark.parametrize("damage", ["no database", "torn pages"])
def test_a_damaged_journal_ends_with_73_and_is_left_as_it_is(
    damage: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        for task in qlik.tasks(20):
            sender.ask({"taskId": task})
    assert daemon.stop() == 0
    content = daemon.journal.read_bytes()
    damaged = b"x" * 5000 if damage == "no database" else content[:4096] + b"\xa5" * (len(content) - 4096)
    daemon.journal.write_bytes(damaged)
    assert daemon.start(ready=False).wait() == 73
    assert "damaged" in daemon.log()
    assert daemon.journal.read_bytes() == damaged


def test_a_journal_of_a_newer_format_ends_with_73_and_is_left_as_it_is(
    make_daemon: MakeDaemon, broker: Mosquitto
) -> None:
    daemon = make_daemon(broker).start()
    assert daemon.stop() == 0
    with contextlib.closing(sqlite3.connect(daemon.journal)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        content = list(connection.iterdump())
    assert daemon.start(ready=False).wait() == 73
    assert "9999" in daemon.log()
    with contextlib.closing(sqlite3.connect(daemon.journal)) as connection:
        assert list(connection.iterdump()) == content


def test_a_journal_that_was_deleted_while_the_daemon_was_down_begins_anew(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    daemon = make_daemon(broker).start()
    assert daemon.stop() == 0
    for file in daemon.folder.glob("journal.sqlite*"):
        file.unlink()
    daemon.start()
    with Sender(broker.port) as sender:
        sender.publish(qlik.task())
        assert sender.wait(lambda got: got.topic == REPLY).json["status"] == "ok"
    assert daemon.logged(READY) == 1
