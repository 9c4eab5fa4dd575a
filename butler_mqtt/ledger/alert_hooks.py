"""What the ledger reports that may be worth an alert; who alerts is above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from butler_mqtt.domain.model import Execution, Publication, Task
from butler_mqtt.domain.open_work import OpenStart, Watch
from butler_mqtt.domain.states import StartState


class AlertHooks(Protocol):
    """Called within the turn whose transaction records what is reported."""

    def intended(self, task: Task) -> None:
        """Note what was read of a task that is about to be started."""

    def execution_ended(
        self, watch: Watch, execution: Execution | None, state: StartState, reason: str, log: Sequence[str]
    ) -> None:
        """Note how an execution ended that serves starts, and why; *log*: its script log's last lines."""

    def not_started(self, starts: Sequence[OpenStart], state: StartState) -> None:
        """Note starts that came to nothing, or of which nobody can tell."""

    def undeliverable(self, publication: Publication, reason: str) -> None:
        """Note a message that the broker does not take."""

    def refused(self, request_id: str, by: str, code: str, details: str) -> None:
        """Note a request that was refused as a whole."""


class NoAlerts:
    """Where alerts are off."""

    def intended(self, task: Task) -> None:
        """Do nothing."""

    def execution_ended(
        self, watch: Watch, execution: Execution | None, state: StartState, reason: str, log: Sequence[str]
    ) -> None:
        """Do nothing."""

    def not_started(self, starts: Sequence[OpenStart], state: StartState) -> None:
        """Do nothing."""

    def undeliverable(self, publication: Publication, reason: str) -> None:
        """Do nothing."""

    def refused(self, request_id: str, by: str, code: str, details: str) -> None:
        """Do nothing."""
