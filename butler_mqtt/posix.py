"""The few calls that exist on POSIX systems only, some of them on Linux only."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import resource
import statistics
import struct
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: CPUs that are compared, waits for the disk on each, and seconds for all of them, at most.
MAX_CPUS = 4
MAX_WAITS = 9
MEASURING_SECONDS = 0.1
#: Waits without which a CPU is not judged, and the share of another's that is clearly less.
MIN_WAITS = 3
CLEARLY = 0.9


def lock(path: Path) -> int:
    """
    Take the exclusive lock on the file *path*, made when absent.

    Returns:
        The open file descriptor; closing it, or the end of the process by
        whatever cause, releases the lock.

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


#: Where in a database SQLite takes its locks for reading: `SHARED_FIRST` in its os.h, see
#: https://www.sqlite.org/lockingv3.html; and `struct flock` of fcntl(2) on Linux.
_SQLITE_SHARED_FIRST = 0x40000002
_FLOCK = "hhqqi0q"


def share_sqlite_lock(descriptor: int) -> None:
    """
    Hold SQLite's shared lock on the database *descriptor*, so that nobody gets the exclusive one.

    A lock of the open file, which excludes SQLite in this process too (Open
    file description locks, fcntl(2)); it ends with the descriptor.

    Raises:
        OSError: Somebody writes, or the file system has no such locks.
    """
    wish = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, _SQLITE_SHARED_FIRST, 1, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wish)


def open_files(wanted: int) -> int:
    """Let this process have *wanted* files open, as far as the system allows; return how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return soft


def free_bytes(folder: Path) -> int:
    """Return how many bytes an ordinary user may still write below *folder*."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def give_way() -> None:
    """Let another thread that is ready run first on this CPU, with the interpreter's lock."""
    os.sched_yield()


def stay_on_one_cpu(folder: Path) -> int | None:
    """
    Keep this process on one CPU; call before threads are started.

    Python runs one thread at a time. Where its threads are on several CPUs, a
    quarter of the processor time goes into handing the interpreter from one to
    the other (docs/performance.md). It is the CPU on which the system has put
    us, or one on which the disk of *folder* answers clearly sooner: in virtual
    machines that is the one which gets the disk's interrupts.

    Returns:
        The number of the CPU, None where the system does not let us.
    """
    try:
        allowed = os.sched_getaffinity(0)
        # The 39th field of proc_pid_stat(5); the second, a name in parentheses, may hold blanks.
        present = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36])
        candidates = [present, *sorted(allowed - {present})][:MAX_CPUS]
        try:
            cpu = quickest(present, _disk_seconds(candidates, folder))
        finally:
            os.sched_setaffinity(0, allowed)
        os.sched_setaffinity(0, {cpu})
    except (OSError, AttributeError, ValueError, IndexError):
        return None
    return cpu


def quickest(present: int, seconds: Mapping[int, Sequence[float]]) -> int:
    """Return the CPU with the shortest waits for the disk; *present* unless another is clearly quicker."""
    medians = {cpu: statistics.median(waits) for cpu, waits in seconds.items() if len(waits) >= MIN_WAITS}
    if present not in medians:
        return present
    best = min(medians, key=medians.__getitem__)
    return best if medians[best] < CLEARLY * medians[present] else present


def _disk_seconds(cpus: Sequence[int], folder: Path) -> dict[int, list[float]]:
    """Measure on each CPU how long it takes until a page is on disk; little or nothing if that cannot be."""
    waits: dict[int, list[float]] = {cpu: [] for cpu in cpus}
    deadline = time.monotonic() + MEASURING_SECONDS
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        page = bytes(mmap.PAGESIZE)
        for number in range(MAX_WAITS + 1):
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                os.pwrite(file.fileno(), page, 0)
                began = time.monotonic()
                os.fdatasync(file.fileno())
                if number:  # the first makes the file longer
                    waits[cpu].append(time.monotonic() - began)
                if time.monotonic() > deadline:
                    return waits
    return waits
