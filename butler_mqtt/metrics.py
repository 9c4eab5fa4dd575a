"""
What the daemon counts about itself: plain numbers, cheap to change, read by `http.exposition`.

Thread-safe. Names and meanings of the metrics are in `docs/monitoring.md`.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

#: Upper bounds of the histograms' buckets, in seconds: from a burst's milliseconds to an outage's half hour.
BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class Histogram:
    """How often values fell under each of `BOUNDS`, the last count for those above all, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value; below zero (a clock was set back) counts as zero."""
        value = max(0.0, value)
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """Return a copy of the numbers."""
        return Histogram(list(self.counts), self.total)


@dataclass(slots=True)
class Counts:
    """The numbers themselves; keys are the values of the labels."""

    received: Counter[str] = field(default_factory=Counter)  #: deliveries by door
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)  #: deliveries by door and code
    starts: Counter[str] = field(default_factory=Counter)  #: by outcome
    ended: Counter[str] = field(default_factory=Counter)  #: executions by result
    to_post: Histogram = field(default_factory=Histogram)
    to_reply: dict[str, Histogram] = field(default_factory=dict)  #: by door
    calls: dict[tuple[str, str, str], Histogram] = field(default_factory=dict)  #: method, endpoint, status


class Metrics:
    """Counts; no method raises or blocks for longer than a few assignments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()

    def received(self, door: str) -> None:
        """Count a delivery that was recorded."""
        with self._lock:
            self._counts.received[door] += 1

    def answered(self, door: str, code: str, seconds: float) -> None:
        """Count a delivery answered with a code, or with `ok`, `partial`, `failed`; seconds since receipt."""
        with self._lock:
            self._counts.answered[door, code] += 1
            if door not in self._counts.to_reply:
                self._counts.to_reply[door] = Histogram()
            self._counts.to_reply[door].observe(seconds)

    def refused(self, door: str, code: str) -> None:
        """Count a request that a door turned down before it was recorded."""
        with self._lock:
            self._counts.answered[door, code] += 1

    def start(self, outcome: str) -> None:
        """Count a start whose outcome is decided."""
        with self._lock:
            self._counts.starts[outcome] += 1

    def ended(self, result: str) -> None:
        """Count an execution that was tracked to its end."""
        with self._lock:
            self._counts.ended[result] += 1

    def posted(self, seconds: float) -> None:
        """Count a POST about to leave, *seconds* after the receipt of the oldest request behind it."""
        with self._lock:
            self._counts.to_post.observe(seconds)

    def qrs_call(self, method: str, path: str, status: str, seconds: float) -> None:
        """Count a call of the Qlik server; *status* is its HTTP status, or `none` when no answer came."""
        endpoint = _ID.sub("{id}", path)
        call = (method, endpoint, status)
        with self._lock:
            if call not in self._counts.calls:
                self._counts.calls[call] = Histogram()
            self._counts.calls[call].observe(seconds)

    def counts(self) -> Counts:
        """Return a copy of all numbers."""
        with self._lock:
            now = self._counts
            return Counts(
                Counter(now.received),
                Counter(now.answered),
                Counter(now.starts),
                Counter(now.ended),
                now.to_post.copy(),
                {door: histogram.copy() for door, histogram in now.to_reply.items()},
                {call: histogram.copy() for call, histogram in now.calls.items()},
            )
