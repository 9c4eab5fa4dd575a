"""Power loss: whatever is left of the log behind the last acknowledged commit, nothing is lost."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until

MakeDaemon = Callable[..., Daemon]
CUTS = 40


def frozen_copy(daemon: Daemon, folder: Path) -> Path:
    """Stop the daemon for a moment and copy its journal as the disk has it."""
    folder.mkdir()
    daemon.signal(signal.SIGSTOP)
    until(lambda: " T " in Path(f"/proc/{daemon.pid}/stat").read_text(), what="the daemon is stopped")
    for suffix in ("", "-wal"):
        shutil.copy(f"{daemon.journal}{suffix}", folder / f"journal.sqlite{suffix}")
    daemon.signal(signal.SIGCONT)
    return folder / "journal.sqlite"


def test_a_log_cut_anywhere_behind_the_last_acknowledged_commit_opens_with_all_that_was_acknowledged(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik, tmp_path: Path
) -> None:
    chance = random.Random(7)  # noqa: S311 -- repeatable on purpose
    first, second = qlik.tasks(30), qlik.tasks(60)
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        for task in first:
            sender.publish({"requestId": task, "taskId": task}, wait=False)
        until(
            lambda: broker.log().count("Received PUBACK from butler-mqtt (") == len(first),
            what="all acknowledged",
        )
        early = frozen_copy(daemon, tmp_path / "early")
        for task in second:
            sender.publish({"requestId": task, "taskId": task}, wait=False)
        until(lambda: any(qlik.executions(task) for task in second), what="the second half is under way")
        late = frozen_copy(daemon, tmp_path / "late")
    base, end = (Path(f"{file}-wal").stat().st_size for file in (early, late))
    assert early.read_bytes() == late.read_bytes(), (
        "a checkpoint came between: the cuts would not be comparable"
    )
    assert end > base
    log = Path(f"{late}-wal").read_bytes()
    for number in range(CUTS):
        cut = chance.randrange(base, end)
        torn = log[:cut] + (bytes(chance.randrange(256) for _ in range(300)) if number % 2 else b"")
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        shutil.copy(late, folder / "journal.sqlite")
        (folder / "journal.sqlite-wal").write_bytes(torn)
        with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            stored = {one for (one,) in connection.execute("SELECT request_id FROM requests")}
        assert set(first) <= stored, f"cut at {cut} of {end}"


def test_a_daemon_that_starts_on_a_cut_log_answers_all_that_was_acknowledged(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik, tmp_path: Path
) -> None:
    """The server has carried out more than the journal knows: adopted, and never repeated."""
    tasks = qlik.tasks(12, result="never")
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        qlik.fault("slow", method="POST", path="/qrs/task/*", when="before", seconds=0.3, count=None)
        topics = [sender.send({"requestId": task, "taskId": task}) for task in tasks]
        until(
            lambda: broker.log().count("Received PUBACK from butler-mqtt (") == len(tasks),
            what="all acknowledged",
        )
        until(lambda: sum(qlik.executions(task) for task in tasks) >= 4, what="some are under way")
        copy = frozen_copy(daemon, tmp_path / "copy")
        daemon.kill()
        log = Path(f"{copy}-wal").read_bytes()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{daemon.journal}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy, daemon.journal)
        # Half of the last page is missing, as when the power went while it was written.
        Path(f"{daemon.journal}-wal").write_bytes(log[:-2048])
        daemon.start()
        answers = [sender.answer(topic, seconds=60) for topic in topics]
    assert [answer["totalTasksStarted"] for answer in answers] == [1] * len(tasks)
    assert [qlik.executions(task) for task in tasks] == [1] * len(tasks)
    for task in tasks:
        qlik.admin("POST", f"/tasks/{task}/stop")
