"""Answers of the Qlik server that may be used again, for a few seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

from butler_mqtt.domain.completions import Answers
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.qlik_timings import QlikTimings

#: Selectors asked for again at once: one query.
MAX_RENEWED = 100


class AnswerCache:
    """
    Keeps answers that name tasks, and knows which of those in use are to be renewed.

    Args:
        timings: Up to which age answers are used, and from which age they are renewed.
    """

    def __init__(self, timings: QlikTimings) -> None:
        self._timings = timings
        self._answers: dict[Selector, tuple[tuple[Task, ...], float]] = {}
        #: Answers used again since they came, and whether one of them is old enough to be renewed.
        self._used: dict[Selector, None] = {}
        self._stale = False

    @property
    def stale(self) -> bool:
        """Return whether an answer in use is to be renewed."""
        return self._stale

    def store(self, answers: Answers, asked_at: float) -> None:
        """Keep the answers to a question of the monotonic time *asked_at*."""
        for selector, answer in answers.items():
            if isinstance(answer, tuple) and answer:
                self._answers[selector] = (answer, asked_at)
            else:
                self._answers.pop(selector, None)
            self._used.pop(selector, None)
        # One used while it was asked for need not be asked for once more.
        self._stale = any(self._is_stale(selector) for selector in self._used)

    def get(self, selectors: Sequence[Selector]) -> Mapping[Selector, tuple[Task, ...]] | None:
        """Return the answers to all *selectors*; None if one is missing or too old."""
        now = time.monotonic()
        found = {}
        for selector in selectors:
            entry = self._answers.get(selector)
            if entry is None or now - entry[1] > self._timings.cache_age:
                return None
            found[selector] = entry[0]
            self._used[selector] = None
            self._stale |= now - entry[1] > self._timings.renewal_age
        return found

    def drop_old(self) -> None:
        """Drop the answers that are too old to be used."""
        oldest = time.monotonic() - self._timings.cache_age
        self._answers = {selector: entry for selector, entry in self._answers.items() if entry[1] >= oldest}

    def take_renewals(self) -> list[Selector]:
        """Return the selectors to ask for again; none if no answer in use is old enough."""
        if not self._stale:
            return []
        renewals = list(itertools.islice(self._used, MAX_RENEWED))
        self._used.clear()
        self._stale = False
        return renewals

    def drop_unused(self) -> None:
        """Forget the use of answers that were dropped."""
        self._used = {selector: None for selector in self._used if selector in self._answers}

    def _is_stale(self, selector: Selector) -> bool:
        entry = self._answers.get(selector)
        return (
            entry is not None
            and self._timings.renewal_age < time.monotonic() - entry[1] <= self._timings.cache_age
        )
