"""
Proof of progress of every thread.

A process that runs and does nothing is worse than one that has ended. So each
thread shows when it last made progress, or since when it has a call in hand, and
the watchdog of the service manager is fed only while all of them do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Progress:
    """
    What each thread shows of its progress.

    `monotonic` is the clock that the proofs are given by, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._proofs: dict[str, tuple[Callable[[], float | None], float]] = {}

    def watch(self, name: str, since: Callable[[], float | None], seconds: float) -> None:
        """
        Watch the thread *name*.

        Args:
            name: For the log.
            since: When it last made progress, or began the call in hand; None while it has nothing to do.
            seconds: How long ago that may be.
        """
        self._proofs[name] = (since, seconds)

    def stuck(self) -> tuple[str, ...]:
        """Return the threads without progress for longer than they may, each with the seconds."""
        now = self._monotonic()
        return tuple(
            f"{name} ({now - moment:.0f} s)"
            for name, (since, seconds) in self._proofs.items()
            if (moment := since()) is not None and now - moment > seconds
        )


class CallTimes:
    """Calls *target* for one thread, and knows since when a call is in hand."""

    def __init__(self, target: object, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._monotonic = monotonic
        self._since: float | None = None

    def since(self) -> float | None:
        """Return the monotonic time at which the call in hand began; None between calls."""
        return self._since

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._target, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._since = self._monotonic()
            try:
                return method(*arguments, **options)
            finally:
                self._since = None

        return call
