"""On which CPU a process stays, and how many files it may open."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from butler_mqtt import posix

SLOW, QUICK = [0.0005] * posix.MIN_WAITS, [0.0003] * posix.MIN_WAITS


def test_the_cpu_with_the_shorter_waits_for_the_disk_is_taken() -> None:
    assert posix.quickest(0, {0: SLOW, 1: QUICK}) == 1


@pytest.mark.parametrize(
    "seconds",
    [
        {0: QUICK, 1: SLOW},
        {0: SLOW, 1: [wait * 0.95 for wait in SLOW]},
        {0: SLOW, 1: QUICK[1:]},
        {0: SLOW[1:], 1: QUICK},
        {},
    ],
)
def test_without_a_clear_difference_the_process_stays_where_it_is(seconds: dict[int, list[float]]) -> None:
    assert posix.quickest(0, seconds) == 0


def test_one_long_wait_does_not_decide() -> None:
    assert posix.quickest(0, {0: SLOW, 1: [*QUICK, 0.2]}) == 1


@pytest.mark.parametrize("name", [".", "not there"])
def test_the_thread_stays_on_one_of_the_cpus_it_may_use_whatever_the_folder(
    tmp_path: Path, name: str
) -> None:
    def stay() -> tuple[int | None, set[int]]:
        return posix.stay_on_one_cpu(tmp_path / name), os.sched_getaffinity(0)

    allowed = os.sched_getaffinity(0)
    with ThreadPoolExecutor(1) as thread:  # the affinity is that of the thread
        cpu, affinity = thread.submit(stay).result()
    assert affinity == {cpu} <= allowed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "had"), [(64, 4096, 546, 546), (1024, 4096, 546, 1024), (64, 128, 546, 128)]
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(
    soft: int, hard: int, wanted: int, had: int
) -> None:
    """In a process of its own, which cannot raise its hard limit again."""
    program = (
        "import resource; from butler_mqtt.posix import open_files;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        f"print(open_files({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(had), str(had), str(hard)]
