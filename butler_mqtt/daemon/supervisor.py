"""Starts the threads of the daemon and supervises them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from butler_mqtt.daemon.watchdog import CallTimes, Progress
from butler_mqtt.errors import JournalError

_Target = TypeVar("_Target")

_log = logging.getLogger("butler_mqtt.daemon")


class Supervisor:
    """
    The threads of the process.

    Args:
        stop: Set when they may end.
        on_fatal: Called, in its thread, when one ends by a fault or by itself.
        on_journal_failed: As much when one ends because the journal cannot be used.
    """

    def __init__(
        self,
        stop: threading.Event,
        *,
        on_fatal: Callable[[BaseException], None],
        on_journal_failed: Callable[[JournalError], None],
    ) -> None:
        self._stop = stop
        self._on_fatal = on_fatal
        self._on_journal_failed = on_journal_failed
        self._threads: list[threading.Thread] = []
        #: When each thread made progress last.
        self.progress = Progress()
        #: The threads that made none for too long at the last check.
        self.stuck: tuple[str, ...] = ()

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Run *work* in a thread that ends when `stop` is set, and not before."""

        def supervised() -> None:
            try:
                work()
            except JournalError as error:
                self._on_journal_failed(error)
            except BaseException as error:  # noqa: BLE001 -- a thread that ends silently would leave us deaf
                self._on_fatal(error)
            else:
                if not self._stop.is_set():
                    self._on_fatal(RuntimeError(f"the thread {name} ended by itself"))

        thread = threading.Thread(target=supervised, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def spawn_caller(
        self, name: str, work: Callable[[_Target], None], target: _Target, seconds: float
    ) -> None:
        """Run *work* with *target* in a thread; a call of *target* may take so many *seconds*."""
        calls = CallTimes(target)
        self.progress.watch(name, calls.since, seconds)
        # It has the methods of *target*, and no others are called.
        self.spawn(name, partial(work, cast("_Target", calls)))

    def check(self) -> None:
        """Find the threads that make no progress; log a change."""
        stuck = self.progress.stuck()
        if stuck and not self.stuck:
            _log.critical(
                "hung: %s; the watchdog is not fed any more, systemd ends and restarts the process",
                ", ".join(stuck),
                extra={"action": "hung"},
            )
        elif self.stuck and not stuck:
            _log.warning("all threads make progress again", extra={"action": "hung"})
        self.stuck = stuck

    def join(self, deadline: float) -> None:
        """Wait for the end of the threads until *deadline*, monotonic seconds; 0.1 s for each in any case."""
        for thread in self._threads:
            thread.join(max(0.1, min(2.0, deadline - time.monotonic())))
