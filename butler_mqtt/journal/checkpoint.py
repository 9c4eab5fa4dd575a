"""
Keeps the write-ahead log short, beside the one who writes.

A checkpoint within a commit keeps everything waiting for tens of milliseconds.
A passive one on a connection of its own keeps nobody waiting
(https://www.sqlite.org/c3ref/wal_checkpoint_v2.html); the log begins again
with the next commit after all of it has been moved.

How long the log is can be asked of SQLite only by moving it, and its files
must not be opened here: closing one drops the locks that SQLite holds on
it for this process (https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from urllib.parse import quote

from butler_mqtt.errors import JournalError
from butler_mqtt.journal.sqlite import Journal

#: Seconds between two checks of how much was written.
POLL_SECONDS = 0.5
#: Pages in the log that are worth moving; less than what makes a commit do it, see `sqlite.LogSizes`.
LONG_LOG = 3000
#: Tries to catch up with somebody who goes on writing; what is left gets less each time.
TRIES = 5

_log = logging.getLogger("butler_mqtt.journal")


def work(
    journal: Journal,
    stop: threading.Event,
    *,
    poll_seconds: float = POLL_SECONDS,
    long_log: int = LONG_LOG,
) -> None:
    """
    Move the log of *journal* into its file whenever it may have become long, until *stop*.

    Args:
        journal: Open; another thread writes it.
        stop: Set when the process ends.
        poll_seconds: Between two checks of how much was written.
        long_log: Pages in the log that are worth moving.
    """
    moved = 0
    while not stop.wait(poll_seconds):
        written = journal.pages_written
        if moved <= written < moved + long_log:
            continue
        moved = written
        try:
            _move(journal)
        except (sqlite3.Error, JournalError) as error:
            # Whoever writes meets it too, and says what to do.
            _log.debug("the journal's log could not be moved: %s", error)


def _move(journal: Journal) -> None:
    # Into the file that is open, and from its log: SQLite compares neither. It must not make a new one.
    journal.verify_identities()
    place = f"file:{quote(str(journal.path))}?mode=rw"
    with contextlib.closing(sqlite3.connect(place, uri=True, isolation_level=None)) as connection:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens database and log
        journal.verify_identities()
        for _ in range(TRIES):
            _busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages == moved:
                return
