"""
The two gates of every start: `startTaskFilter`, and what the sender of its request may start.

They judge tasks when a request or a stage is decided, and once more before a POST
if the configuration has changed since, the daemon was started again, or the task
may have changed: its tags decide, and a start may wait for hours, for its first
POST or for another one. They judge by a reading of the task that is as young as
the one for the request had to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from butler_mqtt.domain import decisions
from butler_mqtt.domain.decisions import SenderGate
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.senders import Senders
from butler_mqtt.settings import Settings
from butler_mqtt.steady_clock import elapsed_ms


class Gates:
    """
    The gates of the configuration as it is now.

    Args:
        settings: With the allow-list and the senders.
        longest: Seconds for which what they said of a start is good.
    """

    def __init__(self, settings: Settings, longest: float) -> None:
        self._longest_ms = longest * 1000
        #: Counts the configurations of this process.
        self._number = 0
        self._use(settings)

    def reconfigured(self, settings: Settings) -> None:
        """Judge from now on by another configuration, also what waits."""
        self._number += 1
        self._use(settings)

    def own(self, identity: str | None, *, dry_run: bool = False) -> SenderGate | None:
        """Return the gate of the sender of a request; None: it lets everything through."""
        return self._senders.gate(identity, dry_run=dry_run)

    def let_through(self, starts: Iterable[OpenStart], at: int | None = None) -> None:
        """Note that *starts* have been judged, *at* a moment as `elapsed_ms` counts; by default just now."""
        moment = elapsed_ms() if at is None else at
        for start in starts:
            start.judged, start.judged_at = self._number, moment

    def changed(self, starts: Iterable[OpenStart]) -> bool:
        """Return whether one of *starts* is to be judged again, by its task as it is now."""
        return not self._open and any(self._is_old(start) for start in starts)

    def shut_out(self, starts: Sequence[OpenStart], task: Task, read_at: int) -> list[OpenStart]:
        """
        Judge those of *starts* again that need it, and return those that may not go on.

        Args:
            starts: Of one task.
            task: As it was read at *read_at*.
            read_at: In milliseconds since the machine was started.
        """
        if not self.changed(starts):
            return []
        shut = [
            start
            for start in starts
            if self._is_old(start) and not decisions.passes(task, self.allow, self.own(start.identity))
        ]
        self.let_through((start for start in starts if self._is_old(start) and start not in shut), read_at)
        return shut

    def _is_old(self, start: OpenStart) -> bool:
        return start.judged != self._number or elapsed_ms() - start.judged_at > self._longest_ms

    def _use(self, settings: Settings) -> None:
        self.allow = settings.start_task_filter
        self._senders = Senders(settings)
        #: Whether they let everything through, whoever asks.
        self._open = not self.allow.enable and not self._senders.configured
