"""Why and when the process ends: signals and faults that end it, and its exit code."""

from __future__ import annotations

import logging
import os
import signal
import threading
from queue import Empty, SimpleQueue
from types import FrameType

from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode

_log = logging.getLogger("butler_mqtt.daemon")


class Ending:
    """The end of the process; its methods may be called from any thread."""

    def __init__(self) -> None:
        #: Set once the process ends.
        self.stop = threading.Event()
        #: Whether nothing new is accepted; a signal sets it before `stop` is set.
        self.begun = False
        self.code = ExitCode.OK
        #: Why it ends by itself, for the service manager to show.
        self.reason = ""
        #: The numbers of signals, or None. A handler must not touch an Event, whose lock the main thread may
        #: be holding; this queue can be put to from anywhere.
        self._wake: SimpleQueue[int | None] = SimpleQueue()

    def handle_signals(self) -> None:
        """Install the handlers; in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def wake(self) -> None:
        """End the wait of `next_signal`."""
        self._wake.put(None)

    def next_signal(self, timeout: float) -> int | None:
        """Wait at most *timeout* seconds; return the number of a signal, or None."""
        try:
            return self._wake.get(timeout=timeout)
        except Empty:
            return None

    def end(self, code: ExitCode) -> None:
        """End with *code*, unless the end has a code already."""
        if not self.stop.is_set():
            self.code = code
        self.stop.set()
        self.wake()

    def fatal(self, error: BaseException) -> None:
        """End after a fault of ours."""
        _log.critical("ending after a fault: %s", error, exc_info=error, extra={"action": "bug"})
        self.end(ExitCode.BUG)

    def journal_failed(self, error: JournalError) -> None:
        """End because the journal cannot be used and waiting cannot help."""
        _log.critical("%s", error, extra={"action": "journal_failed"})
        self.reason = str(error)
        self.end(ExitCode.JOURNAL)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.begun and number != signal.SIGHUP:
            os._exit(ExitCode.FAILED)  # the second one: whoever sends it does not want to wait
        self.begun = self.begun or number != signal.SIGHUP
        self._wake.put(number)
