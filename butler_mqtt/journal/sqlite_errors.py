"""What a failure of SQLite or of the file system means for the operator of a journal."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from butler_mqtt.errors import JournalError

#: SQLite's words for a disk that does not write or sync.
IO_ERROR = "disk I/O error"
#: SQLite's words for states that end by themselves or by an operator's hand, without a restart.
_RECOVERABLE = ("disk is full", "readonly database", IO_ERROR, "locked", "unable to open")

#: Where the journal is when nobody has chosen a place for it.
_USUAL = "without it the journal stands in $STATE_DIRECTORY, else beside the configuration file"


def advice(error: OSError) -> str:
    """Return what to do about a folder in which the journal cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            "free some space on this disk, or set journal.url to another; until then nothing is acknowledged"
        )
    if error.errno == errno.EROFS:
        return (
            f"set journal.url to a file in a folder that can be written ({_USUAL}); under systemd only "
            "StateDirectory= and ReadWritePaths= can"
        )
    return (
        "check that the folder exists and belongs to the service's user, or set journal.url to a file in "
        f"another ({_USUAL})"
    )


def is_of_the_journal(error: Exception) -> bool:
    """Return whether a failure is one of the journal's file, which repeating the turn may mend."""
    return isinstance(error, (JournalError, DBAPIError, sqlite3.Error))


def journal_error(path: Path, error: DBAPIError | sqlite3.Error) -> JournalError:
    """Return the error for the operator of the journal at *path*, with what to do about it."""
    reason = str(driver_error(error))
    recoverable = any(words in reason for words in _RECOVERABLE)
    if "malformed" in reason or "not a database" in reason:
        advice = "the file is damaged: stop the daemon and put a backup back: butler-mqtt requests restore"
    elif "full" in reason:
        advice = "free some space; nothing is acknowledged until then and the broker keeps what arrives"
    elif recoverable:
        advice = (
            "check the disk, and that the file, its -wal and -shm, and folder belong to the service's user, "
            "or set journal.url to a file elsewhere"
        )
    else:
        advice = "this is a fault of the program; nothing unwritten was acknowledged"
    return JournalError(f"the journal {path} cannot be used: {reason}; {advice}", recoverable=recoverable)


def driver_error(error: DBAPIError | sqlite3.Error) -> BaseException | None:
    """Return the driver's own error, without what SQLAlchemy adds to it."""
    return error.orig if isinstance(error, DBAPIError) else error
