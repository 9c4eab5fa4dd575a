"""How many executions of ours may run at one time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Capacity:
    """
    The limit of `maxConcurrentReloads`: a number, or what the site says (`auto`).

    Args:
        configured: The number, 0 for no limit; `auto` reads it from the server.
        interval: Seconds between two reads.
        ask: Has the number read; it comes back through `read`.
    """

    def __init__(self, configured: int | str, interval: float, ask: Callable[[], None]) -> None:
        self._automatic = not isinstance(configured, int)
        self._interval = interval
        self._ask = ask
        self._ask_at = 0.0
        self._reloads = configured if isinstance(configured, int) else 0

    def limit(self) -> int | None:
        """Return the number of executions, None for no limit; ask the server when that is due."""
        if self._automatic and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + self._interval
            self._ask()
        return self._reloads or None

    def read(self, reloads: int) -> None:
        """Apply what the server answered; 0: no limit."""
        self._reloads = reloads
