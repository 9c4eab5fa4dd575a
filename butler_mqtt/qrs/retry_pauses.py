"""Pauses before a call to the server is repeated: those of `tenacity`."""

from __future__ import annotations

import tenacity

from butler_mqtt.errors import QlikUnavailable

#: First pause, seconds; it doubles, with as much again by chance.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0


class Pause(tenacity.wait.wait_base):
    """
    Exponential pauses with jitter; the server's own Retry-After when it is longer.

    Args:
        first: Seconds; doubled for each further one, with as much again as *first* by chance.
    """

    def __init__(self, first: float) -> None:
        self._wait = tenacity.wait_exponential(multiplier=first, max=LONGEST_PAUSE)
        self._jitter = tenacity.wait_random(0, first)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait before the next attempt."""
        pause = self._wait(retry_state) + self._jitter(retry_state)
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        asked = error.retry_after if isinstance(error, QlikUnavailable) else None
        return pause if asked is None else max(pause, asked)


_BETWEEN_CALLS = Pause(FIRST_PAUSE)
_RETRYING = tenacity.Retrying(wait=_BETWEEN_CALLS)


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, for a caller that waits by itself."""
    state = tenacity.RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = failures
    return _BETWEEN_CALLS(state)
