"""What every answer shows of the server: its clock, and whether it is there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from butler_mqtt.qrs.answer_errors import PASSING, http_date, of_another, quoted
from butler_mqtt.qrs.transport import HttpAnswer
from butler_mqtt.repeated_lines import LONG_OUTAGE_SECONDS, RepeatedLines, end_of_outage

log = logging.getLogger("butler_mqtt.qrs")


class ServerState:
    """The server's clock and whether it is reached; thread-safe. `place` is host:port for the log."""

    def __init__(self, place: str, monotonic: Callable[[], float]) -> None:
        self.place = place
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._date = ""
        self._clock: tuple[datetime, float] | None = None
        self._lines = RepeatedLines(monotonic)
        self._loud = True
        self._reachable = False
        self._unreachable_since: float | None = None
        self._reached_at: float | None = None
        #: Why it did not answer last; empty while it does.
        self.fault = ""

    @property
    def reachable(self) -> bool:
        """Whether the repository itself answered last time; False before the first answer."""
        return self._reachable

    @property
    def unreachable_since(self) -> float | None:
        """When it stopped answering (monotonic seconds); None while it answers or was never asked."""
        return self._unreachable_since

    @property
    def reached_at(self) -> float | None:
        """When it answered last (monotonic seconds); None before the first answer."""
        return self._reached_at

    def server_time(self) -> datetime | None:
        """
        Estimate the server's clock: its last `Date`, in whole seconds, and what has passed since.

        None before the first answer. To be compared with server times only.
        """
        clock = self._clock
        if clock is None:
            return None
        return clock[0] + timedelta(seconds=self.monotonic() - clock[1])

    def note_answer(self, answer: HttpAnswer) -> None:
        """Take the time from an answer, and whether the repository is reached: a 500 shows neither."""
        another = of_another(answer)  # whose clock is not the server's
        if not another and answer.date != self._date and (moment := http_date(answer.date)) is not None:
            self._date, self._clock = answer.date, (moment, self.monotonic())
        if answer.status in PASSING or another:
            self.note_failure(f"{answer.status} with {quoted(answer)}")
        elif answer.status < 500:
            self._reached_at = self.monotonic()
            if not self._reachable:
                self._change(reachable=True, reason="")

    def note_failure(self, reason: str) -> None:
        """Remember that a call got no answer of the repository."""
        if self._reachable or self._unreachable_since is None:
            self._change(reachable=False, reason=reason)
        elif not self._loud and self.monotonic() - self._unreachable_since >= LONG_OUTAGE_SECONDS:
            # It began as one of many short ones, which are told once a minute, and goes on.
            self._loud = True
            self._log_unreachable(reason)

    def _change(self, *, reachable: bool, reason: str) -> None:
        with self._lock:
            if reachable == self._reachable and (reachable or self._unreachable_since is not None):
                return
            since, self._unreachable_since = self._unreachable_since, None if reachable else self.monotonic()
            self._reachable, self.fault = reachable, reason
        if not reachable:
            # One that comes and goes, as where only starts are answered with a page, must not fill the log.
            self._loud = self._lines.level(reason) > logging.DEBUG
            self._log_unreachable(reason)
        elif since is not None:
            gone = self.monotonic() - since
            log.log(
                end_of_outage(gone) if self._loud else logging.DEBUG,
                "Qlik server %s is reached again after %.0f s",
                self.place,
                gone,
                extra={"action": "qrs_reached"},
            )

    def _log_unreachable(self, reason: str) -> None:
        log.log(
            logging.WARNING if self._loud else logging.DEBUG,
            "Qlik server %s is not reached: %s",
            self.place,
            reason,
            extra={"action": "qrs_unreachable"},
        )
