"""Checks this machine: the journal and its folder."""

from __future__ import annotations

import errno
import os
import pwd
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from butler_mqtt import posix
from butler_mqtt.checks.finding import Finding, State, ok, warning, wrong
from butler_mqtt.journal.held_requests import COPY_MARK, HELD
from butler_mqtt.journal.sqlite import FORMAT, Journal
from butler_mqtt.pipeline.disk_guard import LITTLE_DISK_BYTES, LOW_DISK_BYTES
from butler_mqtt.printable import counted
from butler_mqtt.settings import Settings

MOUNTS = Path("/proc/mounts")
#: Types of file systems that a power cut empties, and beginnings of those on other machines.
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
REMOTE = ("nfs", "cifs", "smb", "fuse.sshfs", "9p")


def _mounts() -> str:
    """Read what is mounted; empty where the system does not show it."""
    return MOUNTS.read_text("utf-8", "replace") if MOUNTS.exists() else ""


def _owner(path: Path) -> int:
    return path.stat().st_uid


def check(
    settings: Settings,
    *,
    free_bytes: Callable[[Path], int] = posix.free_bytes,
    mounts: Callable[[], str] = _mounts,
    owner: Callable[[Path], int] = _owner,
) -> Iterator[Finding]:
    """Check whether the journal can be written, durably, by this user."""
    path = Journal(settings.journal.url).path
    folder = path.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".butler-mqtt-check-") as file:
            file.write(b"check")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield wrong(
            "journal.folder",
            f"{folder} cannot be written by user {_user()}: {error.strerror}",
            _advice(error),
        )
        return
    yield ok("journal.folder", f"{folder} can be written and synchronised by user {_user()}")
    yield from _file_system(folder, kind_of(folder, mounts()))
    yield _space(folder, free_bytes(folder))
    yield _file(path, owner)
    if path.exists():
        form = format_of(path)
        yield form
        if form.state is State.OK:
            yield from held(path)


def held(path: Path) -> Iterator[Finding]:
    """Warn when requests of the journal at *path*, in this program's format, are held, or will be."""
    name = "journal.held"
    with suppress(sqlite3.Error), closing(_read_only(path)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] == COPY_MARK:
            yield warning(
                name,
                f"{path} is a backup that was copied there by hand",
                "the daemon holds what is open in it until butler-mqtt requests resume "
                "(docs/operations.md); use butler-mqtt requests restore, which checks it too",
            )
        elif number := connection.execute("SELECT count(*) FROM notes WHERE kind = ?", (HELD,)).fetchone()[0]:
            yield warning(
                name,
                f"{counted(number, 'request is', 'requests are')} held since a backup was restored: "
                "nothing of that is started",
                "see butler-mqtt requests --held, then butler-mqtt requests resume (docs/operations.md)",
            )


def _advice(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            "free some space on this disk, or set journal.url to another; until then nothing is acknowledged"
        )
    if error.errno == errno.ENOENT:
        return "create the folder and give it to the service's user, or set journal.url to another"
    if error.errno == errno.EROFS:
        return (
            "set journal.url to a folder that can be written; under systemd only StateDirectory= and "
            "ReadWritePaths= can"
        )
    return "give the folder to the service's user and run this as that user, or set journal.url to another"


def _user(number: int | None = None) -> str:
    """Return the name of a user by its number, of the current user without one."""
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _file_system(folder: Path, kind: str) -> Iterator[Finding]:
    if kind in IN_MEMORY:
        yield warning(
            "journal.filesystem",
            f"{folder} is in memory ({kind})",
            "a power cut or reboot loses what was acknowledged: put journal.url on a disk",
        )
    elif kind.startswith(REMOTE):
        yield warning(
            "journal.filesystem",
            f"{folder} is on another machine ({kind})",
            "locks and fsync are not reliable there: put journal.url on a local disk",
        )


def kind_of(folder: Path, mounts: str) -> str:
    """Return the type of the file system that holds *folder*; *mounts* is in the form of /proc/mounts."""
    place = folder.resolve()
    depth, found = 0, ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        # Blanks are written as octal numbers there.
        mounted = Path(point.encode().decode("unicode_escape"))
        if place.is_relative_to(mounted) and len(mounted.parts) >= depth:
            depth, found = len(mounted.parts), kind
    return found


def _space(folder: Path, free: int) -> Finding:
    text = f"{free // (1024 * 1024)} MB are free in {folder}"
    if free < LOW_DISK_BYTES:
        least = LOW_DISK_BYTES // (1024 * 1024)
        return wrong("journal.space", text, f"free some: nothing new is acknowledged below {least} MB")
    if free < LITTLE_DISK_BYTES:
        return warning(
            "journal.space", text, "a backlog during an outage needs about 2 MB per 1,000 requests"
        )
    return ok("journal.space", text)


def _file(path: Path, owner: Callable[[Path], int]) -> Finding:
    if not path.exists():
        return ok("journal.file", f"{path} does not exist yet; the daemon creates it")
    lock = Path(f"{path}.lock")
    if owner(path) == 0 != owner(path.parent):
        user = _user(owner(path.parent))
        return warning(
            "journal.file",
            f"{path} belongs to root and its folder to user {user}, who cannot write it",
            f"if the service runs as {user}: chown {user}: {path}*; the cause is butler-mqtt run as root",
        )
    try:
        # Created here, perhaps as root, the daemon's user could not open it.
        descriptor = posix.lock(lock) if lock.exists() else None
    except BlockingIOError:
        return ok("journal.file", f"{path} is in use by a running daemon")
    except OSError as error:
        return wrong("journal.file", f"{path}.lock: {error.strerror}", "give it to the service's user")
    if descriptor is not None:
        os.close(descriptor)
    if not os.access(path, os.R_OK | os.W_OK):
        return wrong("journal.file", f"{path} cannot be written", "give it to the service's user")
    return ok("journal.file", f"{path} exists and is not in use")


def format_of(path: Path) -> Finding:
    """Check whether this program can read the journal at *path*, without changing anything there."""
    name = "journal.format"
    try:
        found = _version(path)
    except sqlite3.OperationalError as error:
        return wrong(
            name,
            f"{path} cannot be read by user {_user()}: {error}",
            "give the file, its -wal and -shm, and the folder to the service's user",
        )
    except sqlite3.DatabaseError as error:
        return wrong(
            name,
            f"{path} cannot be read: {error}",
            "it is damaged or no journal: stop the daemon and restore a backup with butler-mqtt requests "
            "restore (docs/operations.md)",
        )
    if found == FORMAT:
        return ok(name, f"{path} has format {found}, that of this program")
    if found is None:
        return ok(name, f"{path} has no tables yet; butler-mqtt run creates them")
    if found > FORMAT:
        return wrong(
            name,
            f"{path} has format {found}, written by a newer butler-mqtt; this one reads up to {FORMAT}",
            "install the newer version again, or restore the backup made before it (docs/upgrade.md)",
        )
    return warning(
        name,
        f"{path} has format {found}; the next butler-mqtt run upgrades it to {FORMAT}",
        "copy it first (docs/upgrade.md): the older version cannot read it afterwards",
    )


def _read_only(path: Path) -> sqlite3.Connection:
    # Without a log beside it the file is whole, and `immutable` keeps SQLite from making one.
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=10)


def _version(path: Path) -> str | None:
    """Read the format, None where there is none yet; raises sqlite3.Error when the file cannot be read."""
    with closing(_read_only(path)) as connection:
        known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
        if connection.execute(known).fetchone() is None:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
