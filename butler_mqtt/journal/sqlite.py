"""
The journal file: opened, locked, brought to the newest format, written.

SQLite in WAL mode with `synchronous=FULL`: a transaction that has been
committed survives a power cut (https://www.sqlite.org/pragma.html#pragma_synchronous).
One process writes, which a lock file beside the journal ensures; others may
read at any time.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from butler_mqtt import posix
from butler_mqtt.errors import JournalError
from butler_mqtt.journal import tables
from butler_mqtt.journal.file_guard import Files, JournalLost
from butler_mqtt.journal.sqlite_errors import IO_ERROR, advice, driver_error, journal_error
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.journal.write_batch import WriteBatch

#: The newest format; `migrations/versions` holds the way to it.
FORMAT = "0010"

_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)

#: The first with UPDATE … FROM.
OLDEST_SQLITE = (3, 33)


#: Pages that a commit writes, beside one for so many rows; measured with few and with many requests at once.
COMMIT_PAGES = 8
ROWS_OF_A_PAGE = 3

#: Free pages given back in one transaction.
_GIVEN_BACK_AT_ONCE = 2000

#: Statements that the driver keeps prepared: more than there are kinds of changes in each of their sizes.
CACHED_STATEMENTS = 512

#: Milliseconds to wait for readers of the log when it is to be emptied; it is tried again.
_RESET_MS = 250

_log = logging.getLogger("butler_mqtt.journal")

#: What SQLite raises for a damaged file, beside `OperationalError` for the other troubles of a file;
#: through SQLAlchemy, or from the driver itself.
_OF_THE_FILE = (DatabaseError, DBAPIError, sqlite3.DatabaseError)


@dataclass(frozen=True, slots=True)
class LogSizes:
    """Sizes of the write-ahead log; no operator configures them."""

    #: Space that it keeps on the disk when it is empty.
    kept_bytes: int = 32 * 1024 * 1024
    #: Pages in it at which a commit moves them into the file, which keeps everybody waiting for tens of
    #: milliseconds: seldom, since `journal.checkpoint` does it before. 32 MB.
    max_pages: int = 8000


class Journal:
    """
    The writer's side of the journal.

    Args:
        url: `sqlite:///FILE`.
        log: How large the write-ahead log may be.
    """

    def __init__(self, url: str, *, log: LogSizes | None = None) -> None:
        self.path = Path(make_url(url).database or "butler-mqtt.sqlite").absolute()
        self._log = log
        self._lock: int | None = None
        self._files = Files(self.path)
        self._lost = False
        #: Whether the disk failed since the log was last emptied: not all of it may be on the disk.
        self._log_in_doubt = False
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._driver: sqlite3.Connection | None = None
        self._commits = 0
        self._changes = 0

    @property
    def pages_written(self) -> int:
        """Estimate how many pages went into the log since the file was opened; may be read by any thread."""
        return COMMIT_PAGES * self._commits + self._changes // ROWS_OF_A_PAGE

    def open(self) -> None:
        """
        Take the lock, open the file, bring it to the newest format.

        Raises:
            JournalError: Another daemon holds it, it is damaged, newer than
                this program, or cannot be written.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise JournalError(
                f"the journal needs SQLite {oldest} or later, this Python has {sqlite3.sqlite_version}: "
                "run it with a newer Python, or update the system's SQLite"
            )
        try:
            known = Path(f"{self.path}.lock").exists()
            if self._lock is None:
                self._lock = self._take_lock()
                self._files, self._lost = Files(self.path), False
            self._files.prepare(self._lock, known=known)
            self._engine = writing_engine(self.path, self._log)
            self._connection = self._engine.connect()
            self._driver = _driver_of(self._connection)
            self._migrate(self._connection)
            if self._log_in_doubt:
                self._empty_log(self._driver)
            self._files.opened()
        except JournalLost as lost:
            self._give_up(lost)
            raise
        except (DBAPIError, sqlite3.Error) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """Close the file and release the lock; closing twice is fine."""
        self._disconnect()
        self._files.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reopen(self) -> None:
        """
        Open the file again after a failed transaction.

        What a failed COMMIT left behind is known only by reading the file, so
        the connection is thrown away rather than used further.

        Raises:
            JournalLost: Another file than before would be opened.
            JournalError: As `open`.
        """
        try:
            self._files.verify_identities()
        except JournalLost as lost:
            self._give_up(lost)
            raise
        self._disconnect()
        # SQLite removes them with the last connection; opening may fail and be tried again.
        self._files.forget_log()
        self.open()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """
        Begin a write transaction; committed, durably, when the block ends.

        Raises:
            JournalLost: The files are not those that were opened; what was
                written may be gone, and nothing may rely on it.
            JournalError: Nothing of the block may be taken as written; call
                `reopen` and read again.
            RuntimeError: A row breaks a rule of the tables, which is a fault of
                the program; nothing of the block was written.
        """
        connection, driver = self._connection, self._driver
        if connection is None or driver is None:
            raise JournalError(f"the journal {self.path} is not open", recoverable=True)
        try:
            self._files.verify_log()
            # Begun and committed without SQLAlchemy, which would be a tenth of a turn with one request.
            driver.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                driver.commit()
            except BaseException:
                driver.rollback()
                raise
            finally:
                # What it began for reading rows, if anything was read; to the driver that is over.
                connection.rollback()
            # What went into a file without a name is lost with the process: nobody may rely on it.
            self._files.verify()
        except JournalLost as lost:
            self._give_up(lost)
            raise
        except (DBAPIError, sqlite3.Error) as error:
            raise self._translated(error) from error
        self._commits += 1
        # Kept as a number: the connection may be closed while another thread asks.
        self._changes = driver.total_changes

    def write(self, unit: WriteBatch) -> None:
        """Make all changes of *unit* durable in one transaction; raises as `transaction`."""
        with self.transaction() as connection:
            unit.write(connection)

    def give_back(self) -> None:
        """
        Free all unused pages of the file, however long it takes; not for a daemon at work.

        Raises:
            JournalError: As `transaction`.
        """
        free = 1
        while free:
            with self.transaction() as connection:
                cursor = connection.connection.cursor()
                for _ in range(_GIVEN_BACK_AT_ONCE):
                    # One page: Python's driver runs this statement for its first step only.
                    cursor.execute("PRAGMA incremental_vacuum(1)")
                cursor.execute("PRAGMA freelist_count")
                row = cursor.fetchone()
                before, free = free, int(row[0]) if row else 0
            if free and free == before:
                break  # a journal without auto_vacuum
        with suppress(sqlite3.Error):
            if self._driver is not None:
                self._driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def verify_identities(self) -> None:
        """Check that the files still have their names; for any thread. Raises JournalLost."""
        self._files.verify_identities()

    def free_bytes(self) -> int:
        """Return the free bytes of its disk; 0 when they cannot be read."""
        try:
            return posix.free_bytes(self.path.parent)
        except OSError:
            return 0

    def _disconnect(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
            if self._engine is not None:
                self._engine.dispose()
        except SQLAlchemyError as error:
            _log.debug("closing the journal after a fault: %s", error)
        self._connection = None
        self._driver = None
        self._engine = None

    def _give_up(self, lost: JournalLost) -> None:
        """Save what can be saved, once, and leave the files as they are."""
        if self._lost:
            return
        self._lost = True
        if lost.log_only and self._driver is not None:
            # Its log has no name any more and all of its content: else the next start would not know it.
            with suppress(sqlite3.Error):
                _busy, pages, moved = self._driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages == moved:
                    _log.warning(
                        "what stood in the log has been moved into %s: nothing of it is lost",
                        self.path,
                        extra={"action": "journal_saved"},
                    )
        with suppress(OSError):
            self._files.keep_log()

    def _empty_log(self, driver: sqlite3.Connection) -> None:
        """
        Have all of the log written into the file, and begin it anew.

        A page whose writing failed counts as written from then on (fsync(2)): what is read of it comes from
        memory, the next sync does not write it, and after a power cut it ends the log, with all that
        was committed and acknowledged behind it. Raises sqlite3.Error while somebody reads from it.
        """
        (usual,) = driver.execute("PRAGMA busy_timeout").fetchone()
        driver.execute(f"PRAGMA busy_timeout = {_RESET_MS}")
        try:
            busy, _pages, _moved = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            driver.execute(f"PRAGMA busy_timeout = {usual}")
        if busy:
            raise sqlite3.OperationalError("disk I/O error before, and the log is locked by a reader")
        self._log_in_doubt = False

    def _take_lock(self) -> int:
        try:
            return posix.lock(Path(f"{self.path}.lock"))
        except BlockingIOError:
            raise JournalError(
                f"the journal {self.path} is in use by another butler-mqtt; "
                "stop that one, or give this one its own journal.url"
            ) from None
        except OSError as error:
            raise JournalError(
                f"the journal {self.path} cannot be written: {error.strerror}: {error.filename}; "
                f"{advice(error)}",
                recoverable=self._engine is not None,
            ) from error

    def _migrate(self, connection: Connection) -> None:
        with connection.begin():
            known = connection.execute(
                text("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'")
            ).first()
            version = (
                connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
                if known
                else None
            )
        if version == FORMAT:
            return
        if version is not None and version > FORMAT:
            raise JournalError(
                f"the journal {self.path} has format {version}, written by a newer butler-mqtt; "
                f"this one reads up to {FORMAT}: install the newer version again, or move the file away"
            )
        if version is None:
            _make_tables(connection)
        else:
            # Loaded here only: Alembic costs a tenth of the daemon's memory and is needed once a release.
            from butler_mqtt.journal import upgrade  # noqa: PLC0415 -- as above

            upgrade.upgrade(connection, FORMAT)
        _log.info(
            "journal %s %s %s",
            self.path,
            "made, in format" if version is None else f"brought from format {version} to",
            FORMAT,
            extra={"action": "journal_migrated"},
        )

    def _translated(self, error: DBAPIError | sqlite3.Error) -> Exception:
        try:
            self._files.verify_identities()
        except JournalLost as lost:
            self._give_up(lost)
            return lost
        if IO_ERROR in str(driver_error(error)):
            self._log_in_doubt = True
        of_the_file = isinstance(error, (OperationalError, sqlite3.OperationalError))
        if of_the_file or type(error) in _OF_THE_FILE:
            return journal_error(self.path, error)
        # Not the journal is at fault but what was to be written: the next transaction can succeed.
        return RuntimeError(f"the journal {self.path} refused a row: {driver_error(error)}")


def _make_tables(connection: Connection) -> None:
    """Make the tables of a new journal as all migrations would, with Alembic's own, in one transaction."""
    with connection.begin():
        tables.metadata.create_all(connection, checkfirst=False)
        connection.execute(text(_VERSION_TABLE))
        connection.execute(text("INSERT INTO alembic_version VALUES (:format)"), {"format": FORMAT})


def _driver_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 -- narrows the type
    return driver


def writing_engine(path: Path, log: LogSizes | None = None) -> Engine:
    """Return an engine with one connection that writes durably and begins transactions at once."""
    log = log or LogSizes()
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 10, "cached_statements": CACHED_STATEMENTS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transaction handling would commit before DDL and begin too late.
        connection.isolation_level = None
        try:
            # First of all: it has an effect only before the first page of a new file is written.
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            # A long read lets the log grow; it is cut again at the next checkpoint that empties it.
            connection.execute(f"PRAGMA journal_size_limit={log.kept_bytes}")
            connection.execute(f"PRAGMA wal_autocheckpoint={log.max_pages}")
        except sqlite3.Error:
            # Nobody else closes it, and it would keep a -wal with the rights the file has now.
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = _driver_of(connection)
        if not driver.in_transaction:
            driver.execute("BEGIN IMMEDIATE")

    return engine


@lru_cache(maxsize=8)
def reading_engine(path: Path) -> Engine:
    """
    Return an engine that reads the journal at *path*, also while a daemon writes it.

    One for each path: it keeps no connection, but its queries as they were compiled, which takes longer
    than most of them.
    """
    return create_engine(
        URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"}),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": 10},
    )


@contextmanager
def reading(path: Path) -> Iterator[Transaction]:
    """Read the journal at *path*, also while it is being written; raises JournalError."""
    try:
        with reading_engine(path).connect() as transaction:
            yield transaction
    except DBAPIError as error:
        raise journal_error(path, error) from error


def highest_ids(connection: Connection) -> dict[str, int]:
    """Return the highest id in use in each table, by the table's name."""
    return {
        table.name: connection.execute(select(table.c.id).order_by(table.c.id.desc()).limit(1)).scalar() or 0
        for table in tables.metadata.sorted_tables
    }
