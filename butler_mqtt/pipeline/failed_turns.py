"""
What follows a turn that failed.

A journal that cannot be written is opened again until it can; any other fault is
ours, and the turn is repeated one event at a time, so that one bad event costs
the others nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from butler_mqtt.domain.completions import Completion
from butler_mqtt.domain.model import Arrival
from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.pipeline.turns import Turns

_log = logging.getLogger("butler_mqtt.pipeline")


class FailedTurns:
    """
    Repeats turns.

    Args:
        turns: Carries them out.
        journal: Opened again when it cannot be written.
        stop: Ends the repeating.
        pause_seconds: Between two attempts to write the journal.
        on_attempt: Called after each attempt that failed.
    """

    def __init__(
        self,
        turns: Turns,
        journal: Journal,
        stop: threading.Event,
        *,
        pause_seconds: float,
        on_attempt: Callable[[], None],
    ) -> None:
        self._turns = turns
        self._journal = journal
        self._stop = stop
        self._pause_seconds = pause_seconds
        self._on_attempt = on_attempt
        #: Why nothing can be recorded, None while it can.
        self.fault: str | None = None

    def repair(self, error: JournalError, happened: Sequence[Arrival | Completion]) -> None:
        """
        Open the journal again until it can be written, then repeat the turn that failed.

        Raises:
            JournalError: Waiting cannot help.
        """
        while not self._stop.is_set():
            if not error.recoverable:
                raise error
            if self.fault is None:
                _log.error("%s", error, extra={"action": "journal_failed"})
            self.fault = str(error)
            try:
                self._journal.reopen()
                self._turns.reload()
                self._turns.carry_out(happened, again=True)
            except JournalError as next_error:
                error = next_error
                self._on_attempt()
                self._stop.wait(self._pause_seconds)
            except Exception:  # noqa: BLE001 -- a fault of ours must not end the daemon
                self.fault = None
                self.one_by_one(happened)
                return
            else:
                self.fault = None
                _log.warning("the journal can be written again", extra={"action": "journal_mended"})
                return

    def one_by_one(self, happened: Sequence[Arrival | Completion]) -> None:
        """Log the fault that is being handled, and repeat the turn in parts."""
        _log.exception("a turn failed; it is repeated one event at a time", extra={"action": "bug"})
        for one in happened:
            try:
                self._turns.reload()
                self._turns.carry_out([one], again=True)
            except JournalError as error:
                self.repair(error, [one])
            except Exception:  # noqa: BLE001 -- as in `repair`
                _log.exception("dropped after a fault: %s", type(one).__name__, extra={"action": "bug"})
                if isinstance(one, Arrival):
                    self._refuse(one)
                else:
                    self._turns.dropped_events.dropped(one)
        self.reload()

    def reload(self) -> None:
        """Read what is open from the journal, in place of what is in memory."""
        try:
            self._turns.reload()
        except JournalError as error:
            self.repair(error, ())

    def _refuse(self, arrival: Arrival) -> None:
        error = RequestError(
            "internal_error", "Internal error", "the request could not be processed; see the log"
        )
        try:
            self._turns.reload()
            self._turns.refuse(arrival, error)
        except Exception:  # noqa: BLE001 -- one request that cannot even be refused must not end the daemon
            _log.exception("a request can neither be recorded nor acknowledged", extra={"action": "bug"})
        else:
            self._turns.act([arrival])
