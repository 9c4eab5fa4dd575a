"""Tries this machine: the journal's folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from butler_mqtt import posix
from butler_mqtt.checks.finding import Finding, ok, warning, wrong
from butler_mqtt.journal.store import LOW_DISK_BYTES, Journal
from butler_mqtt.settings import Settings

#: Less free space than this is worth a line, bytes.
LITTLE_BYTES = 1024 * 1024 * 1024


def check(settings: Settings) -> Iterator[Finding]:
    """Try whether the journal can be written, durably, by this user."""
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
            f"{folder} cannot be written: {error.strerror}",
            "make the folder, give it to the service's user, or set journal.url",
        )
        return
    yield ok("journal.folder", f"{folder} can be written and synchronised")
    yield _space(folder)
    yield _file(path)


def _space(folder: Path) -> Finding:
    free = posix.free_bytes(folder)
    text = f"{free // (1024 * 1024)} MB are free in {folder}"
    if free < LOW_DISK_BYTES:
        return wrong("journal.space", text, "free some: nothing new is acknowledged below 32 MB")
    if free < LITTLE_BYTES:
        return warning(
            "journal.space", text, "a backlog during an outage needs about 2 MB per 1,000 requests"
        )
    return ok("journal.space", text)


def _file(path: Path) -> Finding:
    if not path.exists():
        return ok("journal.file", f"{path} does not exist yet; the daemon makes it")
    try:
        descriptor = posix.lock(Path(f"{path}.lock"))
    except BlockingIOError:
        return ok("journal.file", f"{path} is in use by a running daemon")
    except OSError as error:
        return wrong("journal.file", f"{path}.lock: {error.strerror}", "give it to the service's user")
    os.close(descriptor)
    if not os.access(path, os.R_OK | os.W_OK):
        return wrong("journal.file", f"{path} cannot be written", "give it to the service's user")
    return ok("journal.file", f"{path} is there and not in use")
