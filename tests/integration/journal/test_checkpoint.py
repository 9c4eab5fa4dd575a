"""The write-ahead log is moved into the file beside the one who writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.pool import Pool

from butler_mqtt.journal import checkpoint, tables
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import WriteBatch


def write(journal: Journal, first: int, rows: int) -> None:
    """Commit *rows* sessions one by one."""
    for identity in range(first, first + rows):
        unit = WriteBatch()
        unit.insert(tables.sessions, {"id": identity, "started_at": identity})
        journal.write(unit)


def test_the_estimate_of_pages_is_of_the_size_that_sqlite_counts(journal: Journal) -> None:
    before = journal.pages_written
    write(journal, 1, 100)
    with journal.transaction() as connection:
        pass
    cursor = connection.connection.cursor()
    _busy, pages, _moved = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    cursor.close()
    assert pages / 4 <= journal.pages_written - before <= pages * 10


def test_how_much_was_written_can_be_asked_while_the_file_is_opened_again(journal: Journal) -> None:
    """Else the thread that asks would end the daemon in the middle of a repair."""
    write(journal, 1, 100)
    asked: list[int] = []

    def ask(*_: object) -> None:
        asked.append(journal.pages_written)

    event.listen(Pool, "close", ask)
    try:
        journal.reopen()
    finally:
        event.remove(Pool, "close", ask)
    assert asked
    assert min(asked) >= 100


def test_a_long_log_is_moved_while_somebody_writes_and_begins_again(journal: Journal) -> None:
    stop = threading.Event()
    options = {"poll_seconds": 0.001, "long_log": 30}
    thread = threading.Thread(target=checkpoint.work, args=(journal, stop), kwargs=options)
    thread.start()
    written = 0
    salts: set[bytes] = set()
    deadline = time.monotonic() + 20
    try:
        while len(salts) < 3:
            assert time.monotonic() < deadline, "the log does not begin again"
            write(journal, written + 1, 10)
            written += 10
            # Salt 1 of the log's header is another each time that it begins again.
            salts.add(Path(f"{journal.path}-wal").read_bytes()[16:20])
    finally:
        stop.set()
        thread.join()
    with journal.transaction() as connection:
        found = connection.exec_driver_sql("SELECT count(*), max(id) FROM sessions").one()
    assert tuple(found) == (written, written)


def test_a_log_that_cannot_be_moved_is_left_to_who_writes(journal: Journal) -> None:
    journal.close()
    journal.path.write_bytes(b"not a database" * 1000)
    checks = 0

    class Counting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal checks
            checks += 1
            return checks > 3 or super().wait(timeout)

    checkpoint.work(journal, Counting(), poll_seconds=0.001, long_log=0)
    assert checks == 4


def test_readers_that_come_and_go_do_not_disturb_who_writes(journal: Journal) -> None:
    """A reader that takes itself for the first would empty the shared index under the writer (SIGBUS)."""
    stop = threading.Event()
    options = {"poll_seconds": 0.001, "long_log": 1}
    thread = threading.Thread(target=checkpoint.work, args=(journal, stop), kwargs=options)
    thread.start()
    query = "execute('SELECT count(*) FROM sessions').fetchone()[0]"
    read = f"import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).{query})"
    try:
        for number in range(8):
            write(journal, 1 + 5 * number, 5)
            done = subprocess.run(
                [sys.executable, "-c", read, str(journal.path)], capture_output=True, text=True, check=True
            )
            assert int(done.stdout) == 5 * number + 5
    finally:
        stop.set()
        thread.join()
