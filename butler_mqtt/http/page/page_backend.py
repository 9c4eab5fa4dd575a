"""
What stands behind the page, as narrow callables and the values that they return.

Times are milliseconds since 1970, durations milliseconds. Texts come from requests and from the
Qlik server and may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from butler_mqtt.errors import ButlerError
from butler_mqtt.http.backend import ListQuery, TaskListing

#: A place in a list of requests: time of arrival and row.
Place = tuple[int, int]


class ActionDeclined(ButlerError):
    """An action is not carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """One execution that goes on: since when, how long it usually takes, and the requests it serves."""

    task_id: str
    name: str
    since: int
    usual_ms: int | None
    request_ids: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """One start that waits: `reason` says what for, `behind` is the request whose execution it waits for."""

    task_id: str
    name: str
    since: int
    reason: str
    request_id: str
    behind: str | None


@dataclass(frozen=True, slots=True)
class UndecidedRequest:
    """One request of which nothing is decided, or whose starts are on their way to the Qlik server."""

    request_id: str
    since: int
    asked: str
    reason: str


@dataclass(frozen=True, slots=True)
class GoingOn:
    """What goes on; of each list the oldest, with the count of all."""

    running: Sequence[RunningTask]
    waiting: Sequence[WaitingTask]
    opened: Sequence[UndecidedRequest]
    running_count: int
    waiting_count: int
    opened_count: int


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request in a list; `tone` is `good`, `busy` or `bad`."""

    request_id: str
    received_at: int
    origin: str
    asked: str
    tasks: str
    state: str
    tone: str


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """
    What became of one task of a request.

    `reason` is why it did not succeed, `log` the last lines of its script log and `error` what of
    them names an error; `recovered_at` is when a later execution of the task succeeded.
    """

    task_id: str
    name: str
    state: str
    tone: str
    reason: str
    duration_ms: int | None = None
    node: str | None = None
    ended_at: int | None = None
    stage: int | None = None
    log: tuple[str, ...] = ()
    error: str = ""
    recovered_at: int | None = None


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One thing that happened to a request."""

    time: int
    step: str
    text: str


@dataclass(frozen=True, slots=True)
class RequestPage:
    """
    One request whole.

    `number` counts the requests that had this id, of which there may be several. `retried_by` are
    the ids of the requests that asked for it again; `barred` is why nobody can, empty if one can.
    """

    line: RequestLine
    number: int
    document: str
    tasks: Sequence[TaskOutcome]
    steps: Sequence[TimelineStep]
    refusal: str
    open: bool
    failed: bool
    held: bool
    dead_letters: Sequence[str]
    retried_by: Sequence[str]
    barred: str


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """One request of which something failed, with what did; `barred` as of `RequestPage`."""

    line: RequestLine
    refusal: str
    missing: Sequence[str]
    tasks: Sequence[TaskOutcome]
    retried_by: Sequence[str]
    can_retry: bool
    barred: str


@dataclass(frozen=True, slots=True)
class RuleLine:
    """
    One rule: where its messages come from, its condition, and what became of them by outcome.

    `windows` of messages are open; `problem` is the last one.
    """

    name: str
    enable: bool
    sources: Sequence[str]
    when: str
    counts: Mapping[str, int]
    windows: int
    matched_at: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class HealthFact:
    """One thing about the daemon; `tone` is `good`, `busy` or `bad`, `advice` what to do about it."""

    name: str
    state: str
    tone: str
    details: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class PageBackend:
    """
    Reads for the page, and what an operator decides; for any thread, each may block for a while.

    Reads raise JournalError. `version` is a number that changes whenever the journal was written.
    `requests` reads one more than the limit. `again` makes the request that asks again for what
    failed of one, or of one of its tasks; `discard` discards its dead letters and returns how many
    they were; both raise ActionDeclined. `owner` is whose a request is that `again` took.
    `sessions` is the file in which sign-ins outlive a restart.
    """

    version: Callable[[], int]
    going_on: Callable[[], GoingOn]
    requests: Callable[[ListQuery], list[tuple[Place, RequestLine]]]
    request: Callable[[str], list[RequestPage]]
    tasks: TaskListing
    failures: Callable[[int, Place | None], list[tuple[Place, FailedRequest]]]
    health: Callable[[], list[HealthFact]]
    rules: Callable[[], list[RuleLine]]
    again: Callable[[str, str | None], Mapping[str, object]]
    owner: Callable[[str], str | None]
    discard: Callable[[str], int]
    sessions: Path
