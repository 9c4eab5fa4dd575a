"""What is open right now, in memory: the changing counterparts of the journal's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from butler_mqtt.domain.model import Execution, Request, Task
from butler_mqtt.domain.open_stages import OpenStage, StagedRequest
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RequestState, RunState, StartState
from butler_mqtt.errors import QlikRefused


class Address(NamedTuple):
    """
    What is worked out about an arrival before its row is written.

    `payload` is as sent, cut where it was too large. `digest` compares
    redeliveries within `session`. `entered` is monotonic. `expires_at` comes
    from MQTT 5 Message Expiry. `identity` is whose it is, as the journal keeps it.
    """

    payload: bytes
    entered: float
    digest: bytes | None = None
    session: int | None = None
    reply_topic: str | None = None
    expires_at: int | None = None
    identity: str | None = None


@dataclass(slots=True)
class Delivery:
    """
    Where a reply goes.

    A delivery of the MQTT door has a `reply_topic`; who waits at the REST door
    is known by `id`.
    """

    id: int
    door: str
    received_at: int
    wait: str = "started"
    reply_topic: str | None = None
    correlation: bytes | None = None


@dataclass(slots=True, eq=False)
class OpenRequest:
    """
    A request without a reply, or with one of which a sender waits for the end.

    `received_at` and `expires_at` are milliseconds since 1970, `entered` is the
    monotonic time in seconds at which it came in, counted back from the journal
    for those read again, so that a restart does not make it younger. `reply` is
    JSON text; `door` is where it came in first, `rule` what made it of a message;
    `not_found` has the entries of `tasksNotFound`; `staged` its stages, if it has any.
    `identity` is where it came from, None while no senders are configured.
    """

    id: int
    request_id: str
    request: Request
    state: RequestState
    received_at: int
    entered: float
    expires_at: int | None = None
    reply: str | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    starts: list[OpenStart] = field(default_factory=list)
    door: str = ""
    not_found: list[Mapping[str, object]] = field(default_factory=list)
    staged: StagedRequest | None = None
    rule: str | None = None
    identity: str | None = None

    @property
    def sender(self) -> str | None:
        """Whose it is, for people: where it came from, else what its body says."""
        return self.identity or self.request.sender


@dataclass(slots=True, eq=False)
class OpenStart:
    """
    One task within a request.

    `owner` is None once the request has its reply and nobody waits for the
    end: many starts may wait for long, and a request is large; its `door`,
    `sender` and `rule` stay for the log and for events. `request_row` is
    the row of its request, `run` that of its run. `expires_at` and `not_before`
    are milliseconds since 1970; `entered` is the monotonic time at which it was
    ready to begin. `found_before`: its task was read for an earlier request,
    maybe before this one came; `unread`: to be read once more before its POST, since
    what was read is gone or too old; `first_read`: as it was read after this
    request came, where it waited for long since. While it
    waits for `reason`, `behind` is the execution it waits for, `waits_since` the
    monotonic time at which the wait began, and `seen_behind` whether that
    execution was seen to run after that. `outcome` is its execution as last
    seen, kept only while `owner` is. `stage` is the stage it belongs to; when it
    is skipped there, `skipped_result` is how the execution ended that ran. `place`
    is its place among those that wait for capacity, as last reported. `running_task`
    is the task whose execution it was skipped for, where that is another one of its
    app. `cancelled_by` is the row of the cancel that took it back, or had its
    execution stopped. `identity` is that of its request; `judged` is the
    number of the configuration by which the gates let it through, None where that is not known,
    and `judged_at` when they did, in milliseconds since the machine was started.
    """

    id: int
    owner: OpenRequest | None
    request_row: int
    request_id: str
    task: Task
    state: StartState
    expires_at: int | None = None
    not_before: int | None = None
    entered: float = 0.0
    skip_if_running: bool = False
    found_before: bool = False
    run: int | None = None
    execution_id: str | None = None
    adopted: bool = False
    code: str | None = None
    details: str | None = None
    reason: str | None = None
    behind: str | None = None
    unread: bool = False
    first_read: Task | None = None
    waits_since: float = 0.0
    seen_behind: bool = False
    door: str = ""
    sender: str | None = None
    outcome: Execution | None = None
    stage: OpenStage | None = None
    skipped_result: str | None = None
    place: int | None = None
    running_task: str | None = None
    cancelled_by: int | None = None
    identity: str | None = None
    judged: int | None = None
    judged_at: int = 0
    rule: str | None = None


class Doubt(Enum):
    """Why the answer to a POST leaves its outcome open."""

    #: No usable answer came, or the process ended before it.
    OUTCOME = "outcome"
    #: The empty execution id: not started, for a reason to be found.
    EMPTY = "empty"
    #: An execution id that may be that of an execution that ran before.
    CLAIMED = "claimed"
    #: 400 or 404: no such task, or a fault of the call.
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class Run:
    """
    One POST and what is known of its outcome.

    `since` is the monotonic time of the intent. While the outcome is in
    `doubt`: `in_doubt_since` is when the server last showed anything about it,
    `nothing_since` when a snapshot first showed nothing, `failures` the polls in
    a row that could not reach it, `claimed` the execution id it answered with,
    `refusal` its error instead; `outage` says what stands in the repository's
    place where the last POST was answered by that. These times are monotonic; `intended_at` is
    milliseconds since 1970. `read_at` is when its task was read last since the intent, in milliseconds
    since the machine was started; 0: not since.
    """

    id: int
    task: Task
    starts: list[OpenStart]
    state: RunState
    baseline: Baseline
    intended_at: int
    since: float
    attempts: int = 1
    doubt: Doubt | None = None
    in_doubt_since: float = 0.0
    nothing_since: float | None = None
    failures: int = 0
    claimed: str | None = None
    refusal: QlikRefused | None = None
    outage: str | None = None
    read_at: int = 0


@dataclass(slots=True, eq=False)
class Watch:
    """
    An execution that is tracked to its end.

    `run` is None for one that others began and something of ours waits
    behind: `waited_for` are the tasks whose starts do. `published` are the
    events already published. Times are monotonic; `gone_since` is when its
    session was first found gone without a result, `snapshot` is the number of
    the poll to come, 0 while one is in flight. `window` are the server's
    times between which it began, where a POST of ours was answered with it.
    `skipped` are starts of stages that were skipped because it ran: their stage
    waits for its result.
    """

    execution_id: str
    task: Task
    since: float
    run: int | None = None
    starts: list[OpenStart] = field(default_factory=list)
    skipped: list[OpenStart] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    waited_for: set[str] = field(default_factory=set)
    gone_since: float | None = None
    snapshot: int = 0
    logs_asked: int = 0
    abort_reason: int = 0
    window: tuple[datetime, datetime] | None = None
