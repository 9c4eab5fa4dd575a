"""
Limits of one call: how long its answer may take in all, and how large it may be.

A timeout between bytes bounds neither: an answer that comes in a byte a second,
or `100 Continue` for ever, would hold up every start that waits for the thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from butler_mqtt.settings import QrsSettings as Settings

#: Larger than any list of tasks; what is beyond is not ours to hold in memory.
BODY_BYTES = 64 * 1024 * 1024
#: Several times what `http.client` takes as one head, so that only a flood of `1xx` answers meets it.
HEAD_BYTES = 1024 * 1024
#: A list that comes slower than this over a minute comes through no link that a site runs on.
BYTES_PER_SECOND = 64 * 1024


class AnswerTooSlow(TimeoutError):
    """The answer was not there in whole when its time was over."""


class AnswerTooLarge(OSError):
    """The answer has more bytes than it may have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one answer may take.

    Args:
        seconds: From the call to the end of the head, however many `1xx` come before; as long again for
            the body.
        bytes_per_second: Each so many bytes of the body allow it one more second.
        head_bytes: Of the head, `1xx` answers before it included.
        body_bytes: Of the body, as sent and once more as decoded.
    """

    seconds: float
    bytes_per_second: int = BYTES_PER_SECOND
    head_bytes: int = HEAD_BYTES
    body_bytes: int = BODY_BYTES

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of a configuration: `readTimeoutSeconds` for the head, and again for the body."""
        return cls(settings.read_timeout_seconds)


class Meter:
    """
    Measures the present call; its sockets ask it before each read and report what came.

    `sent` is whether a byte of the call may have left. For one thread.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._began = 0.0
        self._until = 0.0
        self._room = 0
        self._in_body = False
        self.sent = False

    def reset(self) -> None:
        """Record that a new call begins, of which nothing has been sent."""
        self.sent = False

    def begin(self) -> None:
        """Record that the call is being written."""
        self.sent = True
        self._in_body = False
        self._began = time.monotonic()
        self._until = self._began + self._limits.seconds
        self._room = self._limits.head_bytes

    def body(self) -> None:
        """Record that the head is complete; what is read from now on is the body."""
        self._in_body = True
        self._until = time.monotonic() + self._limits.seconds
        self._room = self._limits.body_bytes

    def left(self) -> float:
        """
        Return the seconds that are left.

        Raises:
            AnswerTooSlow: None are.
        """
        now = time.monotonic()
        if now >= self._until:
            what = "whole" if self._in_body else "complete to the end of its headers"
            raise AnswerTooSlow(f"the answer was not {what} after {now - self._began:.1f} s")
        return self._until - now

    def received(self, count: int) -> None:
        """
        Record that so many bytes came.

        Raises:
            AnswerTooLarge: They are too many.
        """
        self._room -= count
        if self._in_body:
            self._until += count / self._limits.bytes_per_second
        if self._room < 0:
            raise self.too_large()

    def too_large(self) -> AnswerTooLarge:
        """Return the error for an answer that is larger than it may be."""
        if self._in_body:
            return AnswerTooLarge(f"the answer has more than {self._limits.body_bytes} bytes")
        return AnswerTooLarge(f"the answer has more than {self._limits.head_bytes} bytes of headers")
