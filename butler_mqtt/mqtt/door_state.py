"""Whether requests can arrive by MQTT, and why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum


class DoorState(StrEnum):
    """Whether requests can arrive."""

    #: Not connected: the broker cannot be reached or lost us; tried again for ever.
    CONNECTING = "connecting"
    #: Subscribed at QoS 1: requests arrive.
    READY = "ready"
    #: The broker refuses us (credentials, rights, certificate); tried again, though time alone fixes nothing.
    REFUSED = "refused"
    #: Another daemon uses our client id; this one does not connect, so that the other can work.
    TAKEN_OVER = "taken_over"
    #: The time of TAKEN_OVER is over, so that supervisors do not fight: end the process.
    GIVEN_UP = "given_up"
    #: Ended by `stop`.
    STOPPED = "stopped"


class ReportedState:
    """
    The state of the door and its reason; thread-safe.

    Args:
        on_state: Gets each change, on the thread that makes it; must not raise.
    """

    def __init__(self, on_state: Callable[[DoorState], None]) -> None:
        self._on_state = on_state
        self._lock = threading.Lock()
        self.state = DoorState.CONNECTING
        self.reason = "no answer yet"

    def become(self, state: DoorState, reason: str) -> None:
        """Change to *state*, unless it is STOPPED, which is for ever; a new *reason* counts in any case."""
        with self._lock:
            self.reason = reason
            if state is self.state or self.state is DoorState.STOPPED:
                return
            self.state = state
        self._on_state(state)
