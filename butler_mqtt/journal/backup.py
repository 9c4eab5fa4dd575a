"""A copy of the journal, made while it is being written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from butler_mqtt.errors import JournalError
from butler_mqtt.journal.held_requests import COPY_MARK


def backup(path: Path, target: Path) -> None:
    """
    Copy the journal at *path* into the new file *target*, readable by its owner only.

    SQLite copies one state of it in one go (https://www.sqlite.org/backup.html);
    in WAL mode the daemon goes on writing. The copy is one file: it
    needs no `-wal`, and can be read where nobody may write. It is marked as a
    copy, so that a daemon that finds it in its journal's place starts nothing of it.

    Raises:
        JournalError: The copy cannot be made; nothing is left of it.
    """
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}")
    if target.exists():
        raise JournalError(f"{target} exists already; name a new file")
    draft = Path(f"{target}.part")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(path, draft)
            draft.rename(target)
        except BaseException:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    Path(f"{draft}{suffix}").unlink()
            raise
    except OSError as error:
        raise JournalError(f"{error.filename}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise JournalError(f"the journal {path} cannot be copied to {target}: {error}") from error


def _copy(path: Path, draft: Path) -> None:
    source = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=10)
    with closing(source), closing(sqlite3.connect(draft)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute(f"PRAGMA user_version={COPY_MARK}")
        copy.commit()
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalError(f"the copy of {path} is damaged, so the journal may be: {found}")
