"""
Keeps the write-ahead log short, beside the one who writes.

A checkpoint within a commit keeps everything waiting for tens of milliseconds.
A passive one on a connection of its own keeps nobody waiting
(https://www.sqlite.org/c3ref/wal_checkpoint_v2.html); the log begins anew
with the next commit after all of it has been moved.

How long the log is can be asked of SQLite only by moving it, and its files
must not be opened here: closing one takes away the locks that SQLite holds on
it for this process (https://www.sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path

from butler_mqtt.journal.store import Journal

#: Seconds between two looks at how much was written.
LOOK_SECONDS = 0.5
#: Pages in the log that are worth moving; less than what makes a commit do it, see `store.MAX_LOG_PAGES`.
LONG_LOG = 3000
#: Tries to catch up with somebody who goes on writing; what is left gets less each time.
TRIES = 5

_log = logging.getLogger("butler_mqtt.journal")


def work(journal: Journal, stop: threading.Event) -> None:
    """Move the log of *journal* into its file whenever it may have become long, until *stop*."""
    moved = 0
    while not stop.wait(LOOK_SECONDS):
        written = journal.pages_written
        if moved <= written < moved + LONG_LOG:
            continue
        moved = written
        try:
            _move(journal.path)
        except sqlite3.Error as error:
            # Whoever writes meets it too, and says what to do.
            _log.debug("the journal's log could not be moved: %s", error)


def _move(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(TRIES):
            _busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages == moved:
                return
