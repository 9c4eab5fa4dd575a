"""The few calls that exist on POSIX systems only, some of them on Linux only."""

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


def give_way() -> None:
    """Let another thread that is ready run first, with the interpreter's lock and on this CPU."""
    os.sched_yield()


def stay_on_one_cpu() -> int | None:
    """
    Keep this process on the CPU on which the system has put it; call before threads are started.

    Python runs one thread at a time. Where its threads are on several CPUs, a
    quarter of the processor time goes into handing the interpreter from one to
    the other (docs/performance.md).

    Returns:
        The number of the CPU, None where the system does not let us.
    """
    try:
        # The 39th field of proc_pid_stat(5); the second, a name in parentheses, may hold blanks.
        cpu = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36])
        os.sched_setaffinity(0, {cpu})
    except (OSError, AttributeError, ValueError, IndexError):
        return None
    return cpu
