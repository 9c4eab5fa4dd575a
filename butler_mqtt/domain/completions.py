"""What happens to the pipeline: the events of its loop, besides arrivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum

from butler_mqtt.domain.model import Execution, Selector, Task, TaskSnapshot
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.settings import Settings

Answers = Mapping[Selector, tuple[Task, ...] | QlikRefused]


@dataclass(frozen=True, slots=True)
class SessionBegan:
    """The broker accepted a connection; `present` when it kept our session."""

    generation: int
    present: bool


@dataclass(frozen=True, slots=True)
class AcknowledgementsRead:
    """The broker has read the first *count* acknowledgements of the connection *generation*, at least."""

    generation: int
    count: int


@dataclass(frozen=True, slots=True)
class RuleSessionBegan:
    """As `SessionBegan`, of the connection on which messages for rules arrive."""

    generation: int
    present: bool


@dataclass(frozen=True, slots=True)
class RuleAcknowledgementsRead:
    """As `AcknowledgementsRead`, of the connection on which messages for rules arrive."""

    generation: int
    count: int


@dataclass(frozen=True, slots=True)
class RuleFilterAnswered:
    """
    The broker answered a SUBSCRIBE to a filter of rules, or an UNSUBSCRIBE from one.

    `row` is the filter's; `subscribed` whether its messages arrive from now on; `problem` says what is wrong
    with that, for people.
    """

    row: int
    subscribed: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """
    The server answered, or did not answer, which tasks some selectors mean.

    `job` is the number of the question, `asked_at` its monotonic time.
    """

    job: int
    asked_at: float
    answers: Answers | QlikError


@dataclass(frozen=True, slots=True)
class Posted:
    """
    The outcome of one POST.

    `answer` is an execution id, None for an answer without one, or the error.
    `snapshot` is what the server showed right after an empty execution id.
    `expired`: it was not sent, since the time of all its starts was over.
    """

    run: int
    answer: str | QlikError | None
    snapshot: TaskSnapshot | None = None
    expired: bool = False


class StopOutcome(Enum):
    """What came of asking the server to stop the task of an execution."""

    #: A poll showed that the execution is what runs, and the server accepted to stop the task.
    ASKED = "asked"
    #: It does not run any more; nothing was asked.
    OVER = "over"
    #: Other executions of the task run as well; nothing was asked.
    NOT_ALONE = "notAlone"


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The outcome of one attempt to stop an execution, or why it is not known or failed."""

    execution_id: str
    outcome: StopOutcome | QlikError


@dataclass(frozen=True, slots=True)
class Polled:
    """
    What the server shows about the task of a run in doubt, or why it could not be read.

    `asked_at` is the monotonic time before it was asked.
    """

    run: int
    asked_at: float
    snapshot: TaskSnapshot | QlikError


@dataclass(frozen=True, slots=True)
class ExecutionsPolled:
    """
    What the server shows about executions, by id, or why it could not be read.

    `logs` has the last lines of the script logs of failed reloads; one that
    should have a log and is not in it has none yet. `asked_at` is the
    monotonic time before it was asked; 0 where that is of no use.
    """

    shown: Mapping[str, Execution | None] | QlikError
    logs: Mapping[str, list[str]]
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class CapacityRead:
    """How many reloads the site runs at one time; 0 when it does not say."""

    reloads: int


@dataclass(frozen=True, slots=True)
class PublicationConfirmed:
    """The broker has taken the publication with this id."""

    id: int


@dataclass(frozen=True, slots=True)
class PublicationRefused:
    """The broker did not take a publication; `final` when trying again cannot help."""

    id: int
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class PublicationsLost:
    """
    A connection that was accepted ended, with these publications unconfirmed.

    `hung_up` says how, when it was the broker that closed it and gave no cause
    that passes by itself; else it is empty.
    """

    ids: tuple[int, ...]
    hung_up: str = ""


@dataclass(frozen=True, slots=True)
class PublisherReady:
    """The broker can take publications again."""


class ParameterOutcome(StrEnum):
    """What became of a `ParameterChange`."""

    DONE = "done"
    NO_NAMESPACE = "no namespace"
    NO_KEY = "no key"
    TOO_MANY_KEYS = "too many keys"
    TOO_MANY_NAMESPACES = "too many namespaces"


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """
    A caller of the REST API stores a parameter, or deletes one or a whole namespace.

    Without `value` the key is deleted, without `key` the namespace. `ttl_ms`
    are the milliseconds for which it is kept, 0 for ever. `on_stored` is called
    with a `ParameterOutcome` once it is on disk; `given_up` returns whether
    the caller has been answered that nothing was stored.
    """

    namespace: str
    key: str | None
    value: str | None
    ttl_ms: int
    on_stored: Callable[[str], None]
    given_up: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class AlertSent:
    """A target has taken the alert of this row."""

    target: str
    row: int


@dataclass(frozen=True, slots=True)
class AlertNotSent:
    """A target did not take the alert of this row; `final` when trying again can hardly help."""

    target: str
    row: int
    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class AlertFactsRead:
    """
    What alerts are about and nobody tells of.

    `tasks` are those of the selectors of `alerts.overdue` that could be read, at
    `server_time`; `certificates` are the seconds until each expires, by its key.
    """

    tasks: Mapping[Selector, tuple[Task, ...]] = field(default_factory=dict)
    server_time: datetime | None = None
    certificates: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """An operator changed the file and asked for it to be read again."""

    settings: Settings


Completion = (
    SessionBegan
    | AcknowledgementsRead
    | RuleSessionBegan
    | RuleAcknowledgementsRead
    | RuleFilterAnswered
    | CapacityRead
    | Resolved
    | Posted
    | StopAsked
    | Polled
    | ExecutionsPolled
    | Reconfigured
    | ParameterChange
    | PublicationConfirmed
    | PublicationRefused
    | PublicationsLost
    | PublisherReady
    | AlertSent
    | AlertNotSent
    | AlertFactsRead
)
