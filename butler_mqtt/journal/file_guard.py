"""
The files of an open journal, watched from outside of SQLite.

SQLite goes on writing into files that were deleted, replaced, cut or overwritten
while it has them open, and reports each commit as durable
(https://www.sqlite.org/howtocorrupt.html, 4.3 and 1.3). So after each commit, and
before anything is done that relies on it, the names are compared with the files
that were opened, and the log with its index
(https://www.sqlite.org/walformat.html, 2.1: the layout read here).

The descriptors held here are closed after SQLite's own: closing one drops
the locks that SQLite holds on the file for this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from butler_mqtt import posix
from butler_mqtt.errors import JournalError

#: Rights of the journal's files: of the service's user alone, since requests stand in them as they were sent.
MODE = 0o600

#: The log's header, and that of each page in it.
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MAGIC = frozenset({b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"})
#: The index begins with two copies of its header.
_INDEX_HEADER_BYTES = 48
#: Page size and number of pages in the log; the salts of the log follow at 32.
_PAGES = struct.Struct("=14xHI")
#: The database's header up to what no write changes, with the change counter and the number of pages behind.
_HEADER_BYTES = 32
_FIXED_BYTES = 24
_COUNTS = struct.Struct(">II")

_ADVICE = (
    "nothing is acknowledged or started any more, and the process ends; stop the service, put the files back "
    "or restore a backup (docs/operations.md#journal-files), then start it again"
)

_log = logging.getLogger("butler_mqtt.journal")


class _Stamp(NamedTuple):
    size: int
    mtime_ns: int
    header: bytes


class JournalLost(JournalError):
    """
    A file of the journal is not the one that was opened, or not what was written.

    `log_only`: the database itself is untouched and the log that
    was opened is whole, so that what it holds can still be moved.
    """

    def __init__(self, file: Path, what: str, *, log_only: bool = False) -> None:
        self.log_only = log_only
        super().__init__(f"the journal's file {file} {what} while the daemon had it open: {_ADVICE}")


class Files:
    """
    Database, log, index and lock file of the journal at *path*.

    `prepare` comes before SQLite opens them and `opened` after, `verify` after
    each commit; `close` after SQLite has closed them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal, self._shm = _beside(path)
        self._held: dict[Path, int] = {}
        self._identities: dict[Path, tuple[int, int]] = {}
        self._stamp: _Stamp | None = None

    def prepare(self, lock: int, *, known: bool) -> None:
        """
        Make the database when absent, for its owner only, and open it.

        Args:
            lock: The descriptor of the lock file.
            known: Whether that was there before, so that there has been a journal.

        Raises:
            JournalLost: After it was open: it is not the same any more.
            JournalError: The database is gone or empty and its log is not.
        """
        if self._path in self._held:
            # SQLite, asked to open a file that is gone, would make an empty one.
            self._verify_identity(self._path)
            return
        # SQLite puts log and index beside the file that a symbolic link leads to.
        self._wal, self._shm = _beside(self._path.resolve())
        self._refuse_bereaved_log()
        with contextlib.suppress(OSError):  # SQLite reports what is wrong with it
            fresh = not self._path.exists()
            self._held[self._path] = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, MODE)
            if fresh:
                os.fchmod(self._held[self._path], MODE)
            if known and os.fstat(self._held[self._path]).st_size == 0:
                _log.warning(
                    "%s at %s although a daemon has had a journal there: a new one is made, what was asked "
                    "before is not known",
                    "there is no file" if fresh else "there is an empty file",
                    self._path,
                    extra={"action": "journal_new"},
                )
        for file in (self._path, self._wal, self._shm):
            _tighten(file)
        lock_file = Path(f"{self._path}.lock")
        self._identities[lock_file] = _identity(os.fstat(lock))
        if self._path in self._held:
            self._identities[self._path] = _identity(os.fstat(self._held[self._path]))

    def opened(self) -> None:
        """Record the files that SQLite has opened; raises as `verify`."""
        for file in (self._wal, self._shm):
            held = self._held.get(file)
            with contextlib.suppress(OSError):
                if held is not None and _identity(os.fstat(held)) == _identity(file.stat()):
                    self._identities[file] = _identity(os.fstat(held))
                    continue
                self._held[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                self._identities[file] = _identity(os.fstat(self._held[file]))
            if held is not None and self._held[file] != held:
                os.close(held)  # SQLite deleted it when it closed the database before
        self._stamp = None
        self.verify()

    def forget_log(self) -> None:
        """Forget which files the log and its index are, until `opened`; the database is still held."""
        # Another thread may be going through them.
        self._identities = {
            file: identity
            for file, identity in self._identities.items()
            if file not in {self._wal, self._shm}
        }

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
        self._identities.clear()
        self._stamp = None

    def verify(self) -> None:
        """
        See whether what has been committed stands in the files that the next start reads.

        To be called by the thread that writes, outside of a transaction.

        Raises:
            JournalLost: A file is gone, another, or not as it was written.
        """
        self.verify_identities()
        self._verify_database()
        self.verify_log()

    def verify_log(self) -> None:
        """
        See whether the log has all that was written; also before more goes behind a hole in it.

        To be called by the thread that writes, outside of a transaction.

        Raises:
            JournalLost: It has not.
        """
        log, index = self._held.get(self._wal), self._held.get(self._shm)
        if log is None or index is None:
            return
        copies = os.pread(index, 2 * _INDEX_HEADER_BYTES, 0)
        one, other = copies[:_INDEX_HEADER_BYTES], copies[_INDEX_HEADER_BYTES:]
        if len(copies) < 2 * _INDEX_HEADER_BYTES:
            raise JournalLost(self._shm, "was cut")
        if one != other:
            return  # another process is writing it at this moment
        page_bytes, pages = _PAGES.unpack_from(one)
        if pages == 0:
            return  # all of it has been moved
        header = os.pread(log, _LOG_HEADER_BYTES, 0)
        size = 65536 if page_bytes == 1 else page_bytes
        if os.fstat(log).st_size < _LOG_HEADER_BYTES + pages * (_FRAME_HEADER_BYTES + size):
            raise JournalLost(self._wal, "was cut")
        if header[:4] not in _MAGIC or header[16:24] != one[32:40]:
            raise JournalLost(self._wal, "was cut or overwritten")

    def verify_identities(self) -> None:
        """
        See whether the names still lead to the files that were opened; for any thread.

        Raises:
            JournalLost: One does not.
        """
        for file, identity in self._identities.items():
            try:
                # Four times a commit: with pathlib it would be a fifth of a commit's work.
                found = os.stat(file)  # noqa: PTH116 -- see above
            except OSError:
                self._verify_identity(file)
                continue
            if (found.st_dev, found.st_ino) != identity:
                self._verify_identity(file)

    def keep_log(self) -> None:
        """Have SQLite leave database and log as they are when it closes them: neither moved nor deleted."""
        # It moves the log only when it gets an exclusive lock, which a shared one from here keeps it from.
        if self._path in self._held:
            posix.share_sqlite_lock(self._held[self._path])

    # ---- helpers

    def _verify_identity(self, file: Path) -> None:
        try:
            found = _identity(file.stat())
        except OSError as error:
            what = (
                "was deleted or moved away" if isinstance(error, FileNotFoundError) else "cannot be reached"
            )
            raise JournalLost(file, what, log_only=self._log_only(file)) from error
        if found != self._identities[file]:
            raise JournalLost(file, "was replaced by another", log_only=self._log_only(file))

    def _log_only(self, file: Path) -> bool:
        if file not in {self._wal, self._shm}:
            return False
        try:
            if _identity(self._path.stat()) != self._identities[self._path]:
                return False
            self._verify_database()
            self.verify_log()
        except (OSError, JournalLost):
            return False
        return True

    def _verify_database(self) -> None:
        held = self._held.get(self._path)
        if held is None:
            return
        found, before = os.fstat(held), self._stamp
        if before is not None and (found.st_size, found.st_mtime_ns) == before[:2]:
            return
        header = os.pread(held, _HEADER_BYTES, 0)
        if before is not None:
            # A checkpoint changes it, by whomever: then the file is as long as the header says, or grows.
            if len(header) < _HEADER_BYTES:
                raise JournalLost(self._path, "was cut")
            counter, pages = _COUNTS.unpack_from(header, _FIXED_BYTES)
            counter_before, _ = _COUNTS.unpack_from(before.header, _FIXED_BYTES)
            if header[:_FIXED_BYTES] != before.header[:_FIXED_BYTES] or counter < counter_before:
                raise JournalLost(self._path, "was overwritten")
            if found.st_size < before.size and found.st_size < pages * _page_bytes(header):
                raise JournalLost(self._path, "was cut")
        if len(header) == _HEADER_BYTES:
            self._stamp = _Stamp(found.st_size, found.st_mtime_ns, header)

    def _refuse_bereaved_log(self) -> None:
        """Refuse to make a new database beside a log, which SQLite would delete."""
        size = self._path.stat().st_size if self._path.exists() else None
        log = self._wal.stat().st_size if self._wal.exists() else 0
        if log == 0 or size:
            return
        state = "is gone" if size is None else "is empty"
        raise JournalError(
            f"the journal {self._path} {state} and its log {self._wal} is not: requests would be lost; put "
            "the database back that belongs to it, or restore a backup and move the log away "
            "(docs/operations.md#journal-files)"
        )


def _beside(database: Path) -> tuple[Path, Path]:
    """Return log and index of a database."""
    return Path(f"{database}-wal"), Path(f"{database}-shm")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _page_bytes(header: bytes) -> int:
    # https://www.sqlite.org/fileformat.html, 1.3.2
    size = int.from_bytes(header[16:18], "big")
    return 65536 if size == 1 else size


def _tighten(file: Path) -> None:
    """Take from others the right to read a file of the journal, and say so."""
    try:
        status = file.stat()
    except OSError:
        return  # not there, or SQLite reports what is wrong with it
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or not mode & ~MODE:
        return
    try:
        file.chmod(MODE)
    except OSError as error:
        _log.warning(
            "%s can be read by others, mode %04o, and that cannot be changed: %s; chmod 600 it as its owner",
            file,
            mode,
            error.strerror,
            extra={"action": "journal_rights"},
        )
    else:
        _log.warning(
            "%s had mode %04o; it holds requests as they were sent and is now readable by its owner only",
            file,
            mode,
            extra={"action": "journal_rights"},
        )
