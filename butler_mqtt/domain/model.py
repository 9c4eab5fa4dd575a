"""
Requests, tasks, executions and messages as frozen values.

No I/O and no foreign library here. Times are aware datetimes in UTC; task and
execution ids are lower-case GUIDs with dashes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

#: What the server answers instead of an execution id when it does not start a task.
EMPTY_GUID = "00000000-0000-0000-0000-000000000000"


class SelectorKind(StrEnum):
    """How a request names tasks; the values are the keys of the request."""

    TASK_ID = "taskId"
    TASK_NAME = "taskName"
    TAG = "tag"
    CUSTOM_PROPERTY = "customProperty"


class Selector(NamedTuple):
    """One taskId, taskName, tag, or customProperty (then `name` is the property's)."""

    kind: SelectorKind
    value: str
    name: str = ""

    def matches(self, task: Task) -> bool:
        """
        Return whether *task* is one this selector means.

        The server compares without regard to case and may pair a property's
        name with another property's value, so what it returns is judged again
        here: `str.casefold`, no Unicode normalisation, name and value on the
        same object.
        """
        wanted = self.value.casefold()
        if self.kind is SelectorKind.TASK_ID:
            return task.id == wanted
        if self.kind is SelectorKind.TASK_NAME:
            return task.name.casefold() == wanted
        if self.kind is SelectorKind.TAG:
            return any(tag.casefold() == wanted for tag in task.tags)
        return any(
            name.casefold() == self.name.casefold() and value.casefold() == wanted
            for name, value in task.custom_properties
        )

    def as_json(self) -> dict[str, object]:
        """Return the selector as it stands in `tasksNotFound`."""
        if self.kind is SelectorKind.CUSTOM_PROPERTY:
            return {self.kind.value: {"name": self.name, "value": self.value}}
        return {self.kind.value: self.value}


class TaskType(IntEnum):
    """Kinds of tasks the server is known to have; others may come."""

    RELOAD = 0
    EXTERNAL_PROGRAM = 1
    USER_SYNC = 2
    DISTRIBUTE = 3
    PRELOAD = 4


#: Kinds of tasks whose executions have sessions; None where the server does not say.
_WITH_SESSIONS = frozenset({None, TaskType.RELOAD, TaskType.EXTERNAL_PROGRAM, TaskType.USER_SYNC})


class ExecutionStatus(IntEnum):
    """`TaskExecutionStatus` of the QRS; a number not listed here counts as active."""

    NEVER_STARTED = 0
    TRIGGERED = 1
    STARTED = 2
    QUEUED = 3
    ABORT_INITIATED = 4
    ABORTING = 5
    ABORTED = 6
    FINISHED_SUCCESS = 7
    FINISHED_FAIL = 8
    SKIPPED = 9
    RETRY = 10
    ERROR = 11
    RESET = 12
    DISTRIBUTION_QUEUE = 13
    DISTRIBUTION_RUNNING = 14


#: Statuses after which nothing more happens (8 may be followed by a retry while there is a session).
ENDED = frozenset({0, 6, 7, 8, 9, 11, 12})


@dataclass(frozen=True, slots=True)
class Execution:
    """
    What Qlik makes of one run, as the server shows it now.

    `id` is the execution session's id, None where only a task's
    `lastExecutionResult` was seen, which does not carry it. `began` is server
    time: the creation of the session or result, else the start of the result.
    `session`: whether its session is still there, i.e. it is active
    whatever `status` says. `status` is a number of `ExecutionStatus` or unknown.
    `message` is the most informative of `details`, which are in order of time;
    `earlier_results` are the ids of the results of attempts before the one of `result_id`;
    `abort_reason` is the session's: 0 none, 1 by hand, 2 timeout, 3 task deleted.
    `task_id` is whose it is, None where the server does not say.
    """

    id: str | None
    result_id: str | None
    began: datetime | None
    status: int
    session: bool = False
    user: str = ""
    node: str = ""
    started: datetime | None = None
    stopped: datetime | None = None
    duration_ms: int | None = None
    message: str = ""
    details: tuple[str, ...] = ()
    abort_reason: int = 0
    earlier_results: tuple[str, ...] = ()
    task_id: str | None = None

    @property
    def active(self) -> bool:
        """Return whether it still runs or waits; an unknown status counts as active."""
        return self.session or self.status not in ENDED

    def has_result(self, result_id: str | None) -> bool:
        """Return whether a result is one of its own: each retry adds one."""
        return result_id is not None and (result_id == self.result_id or result_id in self.earlier_results)


@dataclass(frozen=True, slots=True)
class Task:
    """
    A Qlik task; everything but `id` and `name` may be missing on the wire.

    `custom_properties` are (name, value) pairs, one for each value. `last` is
    the newest execution the server showed with the task; with `last_shown` and
    without `last` it has never run, without both nothing is known of that.
    `app_available` is None where the task has no app or the server does not say,
    as is `app_id`; `app_name` is empty then.
    """

    id: str
    name: str
    task_type: int | None = None
    enabled: bool | None = None
    tags: tuple[str, ...] = ()
    custom_properties: tuple[tuple[str, str], ...] = ()
    last: Execution | None = None
    app_available: bool | None = None
    last_shown: bool = False
    app_id: str | None = None
    app_name: str = ""

    @property
    def has_sessions(self) -> bool:
        """Return whether executions of this kind of task have an id (`ExecutionSession` knows no others)."""
        return self.task_type in _WITH_SESSIONS


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """
    All the server shows about one task: itself, its sessions, its results.

    `task` is None when the server says that there is no such task.
    `executions` are merged by execution id, newest first. `sessions_readable`
    is False for kinds of tasks without sessions. `of_app` are the executions of
    other tasks of its app, read only where one of them may have kept it from being started.
    """

    task: Task | None
    executions: tuple[Execution, ...] = ()
    sessions_readable: bool = True
    of_app: tuple[Execution, ...] = ()


class Message(NamedTuple):
    """
    One PUBLISH as it arrived.

    `generation` counts the connections of this process, since an
    acknowledgement is valid only on the connection that brought the message.
    `properties` is a stable text of all MQTT 5 properties, to compare
    redeliveries. `expiry_seconds` is what was left of Message Expiry. `filters`
    are the rows of the rules' filters that it came for, None for one that no rule
    subscribes to; only then `user_properties` are filled in.
    """

    topic: str
    payload: bytes
    packet_id: int
    generation: int
    dup: bool = False
    retain: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_seconds: int | None = None
    properties: str = ""
    filters: tuple[int, ...] | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


class WebhookCall(NamedTuple):
    """What beside its body came with a call of a rule's webhook; the names of `headers` are in lower case."""

    rule: str
    headers: tuple[tuple[str, str], ...] = ()


class RuleOrigin(NamedTuple):
    """
    The message that a rule made a request of: the last one of so many `messages` that were coalesced.

    `payload` is as it came, `topic` None for a webhook. `expires_at` is milliseconds since 1970.
    """

    rule: str
    payload: bytes
    topic: str | None = None
    messages: int = 1
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """
    One message to publish: QoS 1, never retained.

    `id` is the row of the outbox, `delivery` the delivery it answers (None for
    an event). `instead_of`: the topic it has in the journal, where it may not go there
    any more.
    """

    id: int
    topic: str
    payload: bytes
    request_id: str
    correlation: bytes | None = None
    delivery: int | None = None
    instead_of: str | None = None


class Parameter(NamedTuple):
    """One value that is stored for load scripts to read, always a text."""

    namespace: str
    key: str
    value: str


class Match(StrEnum):
    """How several selectors of one kind, or several kinds, are joined."""

    ANY = "any"
    ALL = "all"


class OnFailure(StrEnum):
    """What becomes of the later stages when one has failed."""

    STOP = "stop"
    CONTINUE = "continue"


class StagePlan(NamedTuple):
    """One stage as asked: its selectors, how they are joined, and what follows its failure."""

    selectors: tuple[Selector, ...]
    name: str | None = None
    match_tag: Match = Match.ANY
    match_custom_property: Match = Match.ANY
    match_criteria: Match = Match.ANY
    on_failure: OnFailure = OnFailure.STOP


class Request(NamedTuple):
    """
    What a sender asks, after validation.

    `selectors` stand in the order asked, each once; with `stages` they are
    those of all stages. `if_running` is None when
    the sender left it to the configuration. `document` is the normalised JSON
    object: parsing it again gives an equal request. `fingerprint` is equal for
    two requests that mean the same (design: without `issuedAt`, `expiresAt`,
    `replyTopic`, `wait`). `parameters_ttl_ms`: milliseconds for which
    `parameters` are kept, 0 for ever. `cancel` is the id of the request it takes
    back, None for one that starts tasks.
    """

    document: str
    fingerprint: str
    request_id: str | None = None
    sender: str | None = None
    selectors: tuple[Selector, ...] = ()
    match_tag: Match = Match.ANY
    match_custom_property: Match = Match.ANY
    match_criteria: Match = Match.ANY
    all_must_exist: bool | str = False
    if_running: str | None = None
    dry_run: bool = False
    wait: str = "started"
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    reply_topic: str | None = None
    parameters: tuple[Parameter, ...] = ()
    parameters_ttl_ms: int = 0
    cancel: str | None = None
    stop_running: bool = False
    stages: tuple[StagePlan, ...] = ()

    def of_stage(self, plan: StagePlan) -> Request:
        """Return the request as if it asked for one of its stages alone."""
        return self._replace(
            selectors=plan.selectors,
            match_tag=plan.match_tag,
            match_custom_property=plan.match_custom_property,
            match_criteria=plan.match_criteria,
            stages=(),
        )


class Arrival(NamedTuple):
    """
    One delivery of a request at one of our doors, before anything is known of it.

    `message` is there for the MQTT door. For the REST door `path_task_id` and
    `request_id` come from the path and the `Idempotency-Key`, `principal` is
    the name of the caller's token, `on_stored` is called with the request id
    once the request is on disk, `on_reply` with the reply's JSON text.
    `given_up` returns whether the caller has been answered that nothing was
    accepted. `received_at` is milliseconds since 1970. `certified`: the principal is
    the common name of a client certificate; `role` is that of the token. An operator
    may ask `on_behalf_of` the sender of an earlier request; so does a rule, of the one
    whose it was when the messages came.

    Through the door `rule` come messages that rules judge, with `message` or
    `webhook`; a request that a rule made has `origin` instead.
    """

    door: str
    payload: bytes
    received_at: int
    message: Message | None = None
    path_task_id: str | None = None
    request_id: str | None = None
    principal: str | None = None
    on_stored: Callable[[str], None] | None = None
    on_reply: Callable[[str], None] | None = None
    given_up: Callable[[], bool] | None = None
    certified: bool = False
    role: str = "sender"
    on_behalf_of: str | None = None
    webhook: WebhookCall | None = None
    origin: RuleOrigin | None = None

    @property
    def rule(self) -> str | None:
        """Return the name of the rule that made this request, None where a sender did."""
        return None if self.origin is None else self.origin.rule
