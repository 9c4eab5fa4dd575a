"""
The two gates of every start: `startTaskFilter`, and what the sender of its request may start.

They judge tasks when a request or a stage is decided, and once more before a POST
if the configuration has changed since, or the daemon was started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from butler_mqtt.domain import decisions
from butler_mqtt.domain.decisions import SenderGate
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.domain.senders import Senders
from butler_mqtt.settings import Settings


class Gates:
    """
    The gates of the configuration as it is now.

    Args:
        settings: With the allow-list and the senders.
    """

    def __init__(self, settings: Settings) -> None:
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

    def let_through(self, starts: Iterable[OpenStart]) -> None:
        """Note that *starts* have just been judged."""
        for start in starts:
            start.judged = self._number

    def changed(self, starts: Iterable[OpenStart]) -> bool:
        """Return whether one of *starts* is to be judged again, by its task as it is now."""
        return not self._open and any(start.judged != self._number for start in starts)

    def shut_out(self, starts: Sequence[OpenStart], task: Task) -> list[OpenStart]:
        """Judge those of *starts* again that need it, and return those that may not go on."""
        if not self.changed(starts):
            return []
        shut = [
            start
            for start in starts
            if start.judged != self._number
            and not decisions.passes(task, self.allow, self.own(start.identity))
        ]
        self.let_through(start for start in starts if start not in shut)
        return shut

    def _use(self, settings: Settings) -> None:
        self.allow = settings.start_task_filter
        self._senders = Senders(settings)
        #: Whether they let everything through, whoever asks.
        self._open = not self.allow.enable and not self._senders.configured
