"""
Every exception of the program, cut by what the caller may do next.

    ButlerError                one line an operator can act on; facts in attributes
    ├── ConfigError            cannot start: exit 78                      .problems
    ├── RequestError           the sender's fault: reply, never retry     .code .details
    ├── QlikError
    │   ├── QlikUnavailable    nothing was done: safe to repeat later     .retry_after
    │   ├── QlikRefused        the server refused: repeating changes nothing   .status
    │   └── OutcomeUnknown     it left, no usable answer: never repeat a start
    ├── BrokerError            MQTT refused or lost
    └── JournalError           nothing can be recorded: acknowledge nothing    .recoverable

Imports nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass


class ButlerError(Exception):
    """One line an operator can act on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing wrong in a configuration file.

    `line` counts from 1 and is None where no line can be named (a missing key
    at the root, a value from the environment); `column` is that of a place
    inside a value.
    """

    path: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        place = f"line {self.line}{column}: " if self.line else ""
        return f"{place}{self.path}: {self.message}"


class ConfigError(ButlerError):
    """The configuration cannot be used; `problems` names every fault found."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source}: {count}\n{lines}")


class RequestError(ButlerError):
    """
    A request refused as a whole; `code` is one of the documented reply codes.

    `request_id` and `reply_topic` are the sender's own where they could be
    read from the request. `retry_after` is in seconds, where a repetition may help.
    """

    reply_topic: str | None = None
    retry_after: int | None = None

    def __init__(self, code: str, error: str, details: str, request_id: str | None = None) -> None:
        self.code = code
        self.error = error
        self.details = details
        self.request_id = request_id
        super().__init__(f"{code}: {details}")


class QlikError(ButlerError):
    """The Qlik Repository Service did not do what was asked."""


class QlikUnavailable(QlikError):
    """Nothing was done; `retry_after` is in seconds when the server named it."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class QlikRefused(QlikError):
    """The server answered 4xx (429 excepted); `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class OutcomeUnknown(QlikError):
    """
    A start left for the server and no usable answer came back.

    `by_another`: what stands in the repository's place answered, and not with a
    5xx. Most likely nothing was passed on, which only the server can show.
    """

    def __init__(self, message: str, *, by_another: bool = False) -> None:
        self.by_another = by_another
        super().__init__(message)


class BrokerError(ButlerError):
    """The MQTT broker refused or lost us."""


class JournalError(ButlerError):
    """
    The journal cannot be read or written.

    `recoverable`: whether waiting can help (a full disk can be emptied) or
    not (a damaged file, a second daemon, a newer format).
    """

    def __init__(self, message: str, *, recoverable: bool = False) -> None:
        self.recoverable = recoverable
        super().__init__(message)
