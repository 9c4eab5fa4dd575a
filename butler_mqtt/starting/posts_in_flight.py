"""How many runs are with the POST workers at one time."""

from __future__ import annotations

#: Runs for each thread that posts: as many as it gets done while one turn is written, so that a burst is
#: written in few large turns. After a crash each of them has to be reconciled.
LARGEST_WINDOW = 16
#: As many at first, so that a daemon that is killed again and again leaves few to be reconciled; one more for
#: each so many outcomes, and twice as many where threads had nothing to post although starts were ready.
FIRST_WINDOW = 4
OUTCOMES_FOR_MORE = 32


class PostWindow:
    """
    Grows with the outcomes recorded, and where it kept threads idle.

    Args:
        threads: That post.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._each = FIRST_WINDOW
        self._outcomes = 0
        #: Whether the last turn would have submitted more runs.
        self.full = False

    def recorded(self, outcomes: int) -> None:
        """Count outcomes of POSTs."""
        self._outcomes += outcomes

    def size(self, idle: int) -> int:
        """Return how many runs may be submitted and without outcome now, while *idle* threads have none."""
        if self.full and idle:
            self._each *= 2
        least = FIRST_WINDOW + self._outcomes // OUTCOMES_FOR_MORE
        self._each = min(LARGEST_WINDOW, max(self._each, least))
        return self._each * self._threads
