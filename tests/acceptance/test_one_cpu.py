"""The daemon stays on one CPU, where Python's threads do not hinder each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.rig import Daemon
from tests.brokers import Mosquitto


def test_every_thread_of_the_daemon_stays_on_the_one_cpu_that_its_log_names(
    make_daemon: Callable[..., Daemon], broker: Mosquitto
) -> None:
    daemon = make_daemon(broker).start()
    allowed = {
        frozenset(os.sched_getaffinity(int(thread.name)))
        for thread in Path(f"/proc/{daemon.pid}/task").iterdir()
    }
    (only,) = allowed
    (cpu,) = only
    assert f"staying on CPU {cpu}" in daemon.log()
