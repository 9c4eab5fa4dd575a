"""What stands behind the listeners, as narrow callables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from butler_mqtt.domain.completions import ParameterChange
from butler_mqtt.domain.model import Arrival
from butler_mqtt.domain.senders import ANYBODY, Caller, Senders
from butler_mqtt.http.refused_calls import RefusedCalls
from butler_mqtt.settings import Settings, Webhook

_NO_SENDERS = Senders(Settings())


@dataclass(frozen=True, slots=True)
class Check:
    """
    One health check; `fault` names in a few words, without names of hosts, what is wrong.

    One that is `advisory` is shown while something is wrong and fails nothing.
    """

    name: str
    fault: str | None = None
    advisory: bool = False

    @property
    def passed(self) -> bool:
        """Return whether it keeps nobody from calling the daemon healthy."""
        return self.advisory or self.fault is None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """
    Which requests a list shows; all that is given must hold.

    `state` is one of `request_list.STATES`, `task` an id or a name, `since` in
    milliseconds since 1970. `caller` is who asks, and sees what it may. One more than
    `limit` is read. `before` is the time of arrival and the row of the last request of
    the page before.
    """

    limit: int
    state: str | None = None
    task: str | None = None
    tag: str | None = None
    sender: str | None = None
    code: str | None = None
    since: int | None = None
    before: tuple[int, int] | None = None
    caller: Caller = ANYBODY


class Inquiry(Protocol):
    """Reads the present state of a request; raises JournalError."""

    def __call__(self, request_id: str, caller: Caller = ANYBODY, /) -> Mapping[str, object] | None:
        """Return the state, None for a request that is unknown or not shown to *caller*."""


#: Reads requests, newest first, each with its time of arrival and row, and its state; raises JournalError.
Listing = Callable[[ListQuery], list[tuple[tuple[int, int], Mapping[str, object]]]]


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """
    Which tasks a list shows, in the order of their names.

    `tag`: only those that a request selected by this tag, among their last starts. One more than
    `limit` is read. `after` is the id of the last task of the page before. Only what `caller` is
    shown counts.
    """

    limit: int
    tag: str | None = None
    after: str | None = None
    caller: Caller = ANYBODY


#: Reads tasks, each with its id; None when there is no task `after`; raises JournalError.
TaskListing = Callable[[TaskQuery], list[tuple[str, Mapping[str, object]]] | None]


@dataclass(frozen=True, slots=True)
class KeyValueBackend:
    """
    The parameters in the journal, while `keyValueStore` is enabled; for any thread.

    `namespaces`, `keys` and `value` are those of `journal.parameter_rows.ParameterReader`.
    `change` submits a change to the pipeline and never blocks. `max_keys`:
    keys that a namespace may have; `endpoints`: whether Butler's paths are served.
    """

    namespaces: Callable[[], list[str]]
    keys: Callable[[str, int], list[str] | None]
    value: Callable[[str, str, int], tuple[bool, str | None]]
    change: Callable[[ParameterChange], None]
    max_keys: int
    endpoints: bool


@dataclass(frozen=True, slots=True)
class Backend:
    """
    The pipeline, the journal and the metrics; all callables may be called from any thread.

    `emit` submits an arrival and never blocks. `obstacle` names why no request
    is accepted now, None while they are. `inquire` reads the present state of
    a request from the journal (it may block for milliseconds). `refused` counts a request that the door
    refused itself, by code. `health` and `readiness` return their checks,
    `exposition` the metrics as text in Prometheus' format (it may block).
    `webhook` returns that of the rule of a name, None without. `key_values` is None
    while there is no key-value store. `senders` returns those of the configuration as
    it is now. `refused_calls` logs who was refused.
    """

    emit: Callable[[Arrival], None]
    obstacle: Callable[[], str | None]
    inquire: Inquiry
    refused: Callable[[str], None]
    health: Callable[[], Sequence[Check]]
    readiness: Callable[[], Sequence[Check]]
    exposition: Callable[[], bytes]
    listing: Listing
    tasks: TaskListing
    key_values: KeyValueBackend | None = None
    webhook: Callable[[str], Webhook | None] = lambda _rule: None
    senders: Callable[[], Senders] = lambda: _NO_SENDERS
    refused_calls: RefusedCalls = field(default_factory=RefusedCalls)

    def caller(self, state: Mapping[str, object]) -> Caller:
        """Return who calls, by what the guard left in the `state` of the scope."""
        principal, role = state.get("principal"), state.get("role", "sender")
        name = principal if isinstance(principal, str) else None
        return self.senders().of_caller(name, certified=bool(state.get("certified")), role=str(role))
