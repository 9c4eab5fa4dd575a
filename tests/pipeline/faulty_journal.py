"""A journal on a real file whose transactions fail when a test wants it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Connection

from butler_mqtt.errors import JournalError
from butler_mqtt.journal.sqlite import Journal


class FaultyJournal(Journal):
    """
    A journal whose next transactions fail as scripted.

    Each entry of `faults` is for one transaction: None lets it be; `start` fails it
    before anything is done, `before` before its COMMIT, `after` reports a failure although the COMMIT
    took effect, `reading` fails its first statement; an exception with
    `before` or `after` is raised instead of a recoverable `JournalError`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.faults: deque[tuple[str, BaseException | None] | None] = deque()
        self.committed = 0
        self.room = True

    def free_bytes(self) -> int:
        """Return what the test says of the disk."""
        return 2**40 if self.room else 0

    def fail(self, where: str, error: BaseException | None = None) -> None:
        """Let the next transaction that has no fault yet fail."""
        self.faults.append((where, error))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        where, error = (self.faults.popleft() if self.faults else None) or ("", None)
        failure = error or JournalError(f"disk I/O error ({where} the commit)", recoverable=True)
        if where == "start":
            raise failure
        with super().transaction() as connection:
            yield cast("Connection", _Failing(connection, failure)) if where == "reading" else connection
            if where == "before":
                raise failure
        self.committed += 1
        if where == "after":
            raise failure


class _Failing:
    """A connection on which no statement succeeds; everything else is the real one's."""

    def __init__(self, connection: Connection, failure: BaseException) -> None:
        self._connection = connection
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        if name in {"execute", "exec_driver_sql", "connection"}:
            raise self._failure
        return getattr(self._connection, name)
