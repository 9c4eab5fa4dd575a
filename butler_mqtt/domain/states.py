"""
The states of a request, a stage, a start and a run, and which may follow which.

Every change goes through `move`: those of the daemon in `ledger`, that of a
restored backup, whose runs in doubt are given up, in `journal.held_requests`.
The diagrams of `docs/states.md` are held to the tables here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar


class RequestState(StrEnum):
    """How far a request has come."""

    #: On disk and acknowledged; its tasks are not known yet.
    RECEIVED = "received"
    #: Its starts are on disk; at least one has no outcome yet.
    DECIDED = "decided"
    #: Everything decided and its reply written.
    CLOSED = "closed"
    #: Refused as a whole, with a code; nothing was started.
    REFUSED = "refused"


class StageState(StrEnum):
    """How far one stage of a request has come."""

    #: Its turn has not come.
    WAITING = "waiting"
    #: It has begun, and not all of its executions have ended.
    RUNNING = "running"
    #: Each of its tasks succeeded.
    SUCCEEDED = "succeeded"
    #: It is over, and not each of its tasks succeeded.
    FAILED = "failed"
    #: It will not begin: one before it failed, the request was taken back, or it is a dry run.
    NOT_STARTED = "notStarted"


class StartState(StrEnum):
    """What became of one task within one request."""

    #: To be started; waits for its turn.
    PLANNED = "planned"
    #: Waits behind an execution, for a slot or for its time.
    WAITING = "waiting"
    #: The server began an execution for it.
    RUNNING = "running"
    #: The execution ended well.
    SUCCEEDED = "succeeded"
    #: The execution ended with an error.
    FAILED = "failed"
    #: The execution was stopped by hand or by its timeout.
    ABORTED = "aborted"
    #: The scheduler decided not to run the execution.
    SKIPPED_BY_QLIK = "skippedByQlik"
    #: The allow-list, or that of its sender, does not let this task be started.
    DENIED = "denied"
    #: It ran already and the sender asked to leave it then.
    SKIPPED = "skipped"
    #: The server did not start it; the code says why.
    NOT_STARTED = "notStarted"
    #: Its time ran out before it began.
    EXPIRED = "expired"
    #: A sender took it back before it began.
    CANCELLED = "cancelled"
    #: It may or may not run; the server does not show it.
    UNKNOWN = "unknown"
    #: A dry run: it would have been started.
    WOULD_START = "wouldStart"


class RunState(StrEnum):
    """How far one POST to the server got."""

    #: On disk before the POST; it may or may not have left.
    INTENDED = "intended"
    #: It left and no usable answer came back; being reconciled.
    POSTED = "posted"
    #: The server answered with its execution, or with 204 for a kind of task without one.
    EXECUTING = "executing"
    #: The execution is over.
    ENDED = "ended"
    #: The server began nothing.
    NONE = "none"
    #: It could not be reconciled; it is not repeated.
    UNKNOWN = "unknown"


_R = RequestState
_G = StageState
_S = StartState
_N = RunState

REQUEST_MOVES: Mapping[RequestState | None, frozenset[RequestState]] = {
    None: frozenset({_R.RECEIVED, _R.REFUSED}),
    _R.RECEIVED: frozenset({_R.DECIDED, _R.CLOSED, _R.REFUSED}),
    _R.DECIDED: frozenset({_R.CLOSED, _R.REFUSED}),
}

STAGE_MOVES: Mapping[StageState | None, frozenset[StageState]] = {
    None: frozenset({_G.WAITING, _G.RUNNING, _G.NOT_STARTED}),
    _G.WAITING: frozenset({_G.RUNNING, _G.NOT_STARTED}),
    _G.RUNNING: frozenset({_G.SUCCEEDED, _G.FAILED}),
}

START_MOVES: Mapping[StartState | None, frozenset[StartState]] = {
    None: frozenset({_S.PLANNED, _S.WAITING, _S.DENIED, _S.WOULD_START}),
    _S.PLANNED: frozenset(
        {
            *(_S.WAITING, _S.RUNNING, _S.SKIPPED, _S.DENIED, _S.NOT_STARTED, _S.EXPIRED, _S.CANCELLED),
            _S.UNKNOWN,
        }
    ),
    _S.WAITING: frozenset(
        {
            *(_S.PLANNED, _S.RUNNING, _S.SKIPPED, _S.DENIED, _S.NOT_STARTED, _S.EXPIRED, _S.CANCELLED),
            _S.UNKNOWN,
        }
    ),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.ABORTED, _S.SKIPPED_BY_QLIK, _S.UNKNOWN}),
}

RUN_MOVES: Mapping[RunState | None, frozenset[RunState]] = {
    None: frozenset({_N.INTENDED}),
    _N.INTENDED: frozenset({_N.INTENDED, _N.POSTED, _N.EXECUTING, _N.NONE, _N.UNKNOWN}),
    _N.POSTED: frozenset({_N.INTENDED, _N.EXECUTING, _N.NONE, _N.UNKNOWN}),
    _N.EXECUTING: frozenset({_N.ENDED, _N.UNKNOWN}),
}

#: Run states between intent and outcome: at most one run of a task is in them.
RUN_OPEN = frozenset({_N.INTENDED, _N.POSTED})

_MOVES: Mapping[type, Mapping[Any, frozenset[Any]]] = {
    RequestState: REQUEST_MOVES,
    StageState: STAGE_MOVES,
    StartState: START_MOVES,
    RunState: RUN_MOVES,
}

_State = TypeVar("_State", RequestState, StageState, StartState, RunState)


def move(before: _State | None, after: _State, of: int | str) -> _State:
    """
    Return *after*, the next state behind *before*.

    Args:
        before: The present state; None for a new row.
        after: The state to come.
        of: Row or id of the request, stage, start or run, for the error.

    Raises:
        RuntimeError: *before* may not become *after*, which is a fault of the program.
    """
    if after not in _MOVES[type(after)].get(before, ()):
        kind = type(after).__name__.removesuffix("State").lower()
        raise RuntimeError(f"{kind} {of}: {before or 'a new row'} cannot become {after}")
    return after
