"""On which CPU a process stays."""

from __future__ import annotations

import os
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
