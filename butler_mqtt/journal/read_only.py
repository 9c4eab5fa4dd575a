"""One connection that reads a journal, in use or a copy, and never writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from butler_mqtt.errors import JournalError
from butler_mqtt.journal.sqlite import FORMAT, reading_engine
from butler_mqtt.journal.sqlite_errors import journal_error


class ReadOnlyJournal:
    """The journal at *path*; a context manager that raises JournalError when the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        if not self.path.is_file():
            raise JournalError(f"there is no journal at {self.path}")
        with self._translated():
            self._connection = _connect(self.path)
            try:
                self._check_format()
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    @contextmanager
    def reading(self, *, whole: bool = True) -> Iterator[Connection]:
        """Return the connection; with *whole* all queries in the block see one state of the file."""
        with self._translated():
            if whole:
                self._connection.exec_driver_sql("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.rollback()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise journal_error(self.path, error) from error

    def _check_format(self) -> None:
        known = text("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'")
        if self._connection.execute(known).first() is None:
            raise JournalError(f"{self.path} is not a journal of butler-mqtt")
        version = self._connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        self._connection.rollback()
        if version != FORMAT:
            raise JournalError(
                f"the journal {self.path} has format {version}, this butler-mqtt reads {FORMAT}: "
                "use the version that writes it; the daemon brings older ones up when it starts"
            )


def _connect(path: Path) -> Connection:
    connection = reading_engine(path).connect()
    try:
        connection.execute(text("SELECT 1 FROM sqlite_master"))
    except DBAPIError as error:
        connection.close()
        unwritable = any(words in str(error.orig) for words in ("unable to open", "readonly database"))
        if not unwritable or Path(f"{path}-wal").exists():
            raise
        # A copy in a folder where nobody may write: SQLite then has to know that nobody does.
        query = {"mode": "ro", "immutable": "1", "uri": "true"}
        url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
        return create_engine(url, poolclass=NullPool).connect()
    connection.rollback()
    return connection
