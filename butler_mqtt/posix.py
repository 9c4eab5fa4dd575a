"""The few calls that exist on POSIX systems only."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock(path: Path) -> int:
    """
    Take the exclusive lock on the file *path*, made when absent.

    Returns:
        The open file descriptor; closing it, or the end of the process by
        whatever cause, gives the lock back.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file cannot be opened for writing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def free_bytes(folder: Path) -> int:
    """Tell how many bytes an ordinary user may still write below *folder*."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
