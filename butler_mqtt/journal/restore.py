"""Restores a backup: checked, brought to the newest format, all that is open held."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from butler_mqtt import posix
from butler_mqtt.clock import now_ms
from butler_mqtt.errors import JournalError
from butler_mqtt.journal import held_requests, tables, upgrade
from butler_mqtt.journal.sqlite import FORMAT, writing_engine

_BESIDE = ("-wal", "-shm", "-journal")

#: Makes a file that of a user and a group, by their numbers; None where that is not for us.
Giving = Callable[[Path, int, int], None] | None


@dataclass(frozen=True, slots=True)
class Restored:
    """
    What was done.

    `held` counts the requests held, `found` is the format of the copy, `aside`
    the file that was the journal before; None where there was none.
    """

    held: int
    found: str
    aside: Path | None


def give_as_root() -> Giving:
    """Return what gives files away: root does, and nobody else could."""
    return os.chown if os.geteuid() == 0 else None


def restore(journal: Path, copy: Path, giving: Giving) -> Restored:
    """
    Put *copy* in the place of the journal at *journal*; the copy itself stays as it is.

    What was there is kept beside it under a name with the date. The daemon's
    lock is held until the end; a failure or a crash at any instant leaves the old
    journal or the new one in place, whole.

    Args:
        journal: Whose owner, or that of its folder, gets what is made here: the daemon is to write it.
        copy: Made by `requests backup`.
        giving: How; `give_as_root()` for a person who restores.

    Raises:
        JournalError: A daemon runs, the copy cannot be used, or a file cannot be
            written; the journal is as it was.
    """
    if not copy.is_file():
        raise JournalError(f"there is no file {copy}")
    if journal.exists() and journal.samefile(copy):
        raise JournalError(f"{copy} is the journal itself")
    # A link stays one: SQLite, too, keeps its log beside the file that it leads to.
    file = Path(os.path.realpath(journal))
    draft = Path(f"{file}.restoring")
    try:
        with _locked(journal, giving):
            _remove(draft)
            try:
                os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                _read(copy, draft)
                found, held = _prepare(draft, copy)
                _synchronise(draft)
                _set_owner(draft, file, giving)
                aside = _keep(file) if file.exists() else None
                # Of a journal that is gone; of one that is there `_keep` has it.
                _remove(file, itself=False)
                draft.rename(file)
            finally:
                _remove(draft)
            # It names rows of the journal that was.
            Path(f"{journal}.command").unlink(missing_ok=True)
            _synchronise(file.parent)
    except OSError as error:
        raise JournalError(
            f"{error.filename}: {error.strerror}; run this as the user of the service, or as root"
        ) from error
    return Restored(held, found, aside)


@contextmanager
def _locked(journal: Path, giving: Giving) -> Iterator[None]:
    lock = Path(f"{journal}.lock")
    try:
        descriptor = posix.lock(lock)
    except BlockingIOError:
        raise JournalError(
            f"the journal {journal} is in use by a running daemon: stop it first (systemctl stop butler-mqtt)"
        ) from None
    try:
        _set_owner(lock, journal, giving)
        yield
    finally:
        os.close(descriptor)


def _read(copy: Path, draft: Path) -> None:
    """Copy one state of *copy*, with what is in its log."""
    # Without a log the file is whole, and `immutable` reads it where nobody may write.
    mode = "mode=ro" if Path(f"{copy}-wal").exists() else "immutable=1"
    source = sqlite3.connect(f"file:{quote(str(copy.absolute()))}?{mode}", uri=True, timeout=10)
    try:
        with closing(source), closing(sqlite3.connect(draft)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            _check(target, copy)
    except sqlite3.Error as error:
        raise JournalError(f"{copy} cannot be used: {error}") from error


def _check(connection: sqlite3.Connection, copy: Path) -> None:
    """Raise JournalError unless this is a whole journal that this program can read."""
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalError(f"{copy} is damaged: {found}; take another backup")
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise JournalError(f"{copy} is damaged: rows are missing; take another backup")
    objects = set(connection.execute("SELECT type, name FROM sqlite_master"))
    if ("table", "alembic_version") not in objects:
        raise JournalError(f"{copy} is not a journal of butler-mqtt")
    foreign = sorted(name for kind, name in objects if kind in {"trigger", "view"})
    if foreign:
        raise JournalError(f"{copy} is not a journal of butler-mqtt alone: it also has {', '.join(foreign)}")
    versions = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    if len(versions) != 1 or not str(versions[0]).isdecimal():
        raise JournalError(f"{copy} is not a journal of butler-mqtt: its format is {versions}")
    if versions[0] > FORMAT:
        raise JournalError(
            f"{copy} has format {versions[0]}, written by a newer butler-mqtt; this one reads up to "
            f"{FORMAT}: install the newer version, or take an older backup"
        )


def _prepare(draft: Path, copy: Path) -> tuple[str, int]:
    """Bring the draft to the newest format and hold what is open; return the format and their number."""
    engine = writing_engine(draft)
    try:
        with engine.connect() as connection:
            with connection.begin():
                found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
            if found != FORMAT:
                upgrade.upgrade(connection, FORMAT)
            with connection.begin():
                _compare(connection, copy)
                held = held_requests.hold(connection, now_ms())
    except DBAPIError as error:
        raise JournalError(f"{copy} cannot be brought to format {FORMAT}: {error.orig}") from error
    except SQLAlchemyError as error:
        raise JournalError(f"{copy} cannot be brought to format {FORMAT}: {error}") from error
    finally:
        engine.dispose()
    with closing(sqlite3.connect(draft)) as alone:
        # One file: nothing is left in a log beside it.
        alone.execute("PRAGMA journal_mode=DELETE")
    return str(found), held


def _compare(connection: Connection, copy: Path) -> None:
    """Raise JournalError unless all tables and indexes are this program's."""
    expected = {("table", "alembic_version")}
    for table in tables.metadata.sorted_tables:
        expected.add(("table", table.name))
        expected |= {("index", str(index.name)) for index in table.indexes}
    rows = connection.exec_driver_sql("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    objects = {(str(kind), str(name)) for kind, name in rows}
    differing = {name for _, name in objects ^ expected}
    for table in tables.metadata.sorted_tables:
        columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({table.name})").mappings()
        if {row["name"] for row in columns} != {column.name for column in table.columns}:
            differing.add(table.name)
    if differing:
        raise JournalError(
            f"{copy} is no journal of ours; missing or not its own: {', '.join(sorted(differing))}"
        )


def _set_owner(file: Path, journal: Path, giving: Giving) -> None:
    """Make the owner of the journal, or of its folder, that of *file*."""
    if giving is not None:
        owner = (journal if journal.exists() else journal.parent).stat()
        giving(file, owner.st_uid, owner.st_gid)


def _keep(journal: Path) -> Path:
    """Give the journal a second name with the date; without a log beside it unless that is damaged too."""
    _fold(journal)
    aside = Path(f"{journal}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in ("", "-wal"):
        file = Path(f"{journal}{suffix}")
        if file.exists():
            try:
                os.link(file, f"{aside}{suffix}")
            except PermissionError:
                # A file system without hard links.
                shutil.copy2(file, f"{aside}{suffix}")
    _synchronise(journal.parent)
    return aside


def _fold(journal: Path) -> None:
    """Move the log of the old journal into it, so that it is whole without; one too damaged stays so."""
    try:
        with closing(sqlite3.connect(journal, timeout=10)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise JournalError(
                f"the journal {journal} is being read by another program: end it "
                "(butler-mqtt requests --follow, a backup), then restore again"
            ) from error


def _remove(file: Path, *, itself: bool = True) -> None:
    for suffix in (*(("",) if itself else ()), *_BESIDE):
        with suppress(FileNotFoundError):
            Path(f"{file}{suffix}").unlink()


def _synchronise(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
