"""
Takes requests back: what has not begun will not, and what a request alone began can be stopped.

A cancel is a request of its own. It has its reply once nothing of what it
cancels is between intent and outcome any more: a start whose POST is under way
or in doubt may have begun, and only the server can tell.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain

from butler_mqtt.contract import cancel_replies
from butler_mqtt.contract.cancel_replies import GoesOn
from butler_mqtt.domain import senders
from butler_mqtt.domain.completions import StopAsked, StopOutcome
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.journal.sqlite_errors import is_of_the_journal
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.qrs.retry_pauses import pause_after
from butler_mqtt.resolving.request_decisions import refused_by_qlik
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.open_runs import OpenRuns
from butler_mqtt.starting.pending_starts import PendingStarts
from butler_mqtt.starting.post_workers import PostWorkers

_NOT_BEGUN = frozenset({StartState.PLANNED, StartState.WAITING})

_log = logging.getLogger("butler_mqtt.cancellation")


@dataclass(slots=True)
class _Stop:
    """
    How far the server is asked to stop one execution; times are monotonic.

    `asked`: it may have been, here or before a restart. `why_not` is a code and details.
    """

    in_flight: bool = False
    asked: bool = False
    done: bool = False
    over: bool = False
    failures: int = 0
    again_at: float = 0.0
    why_not: tuple[str, str] | None = None


@dataclass(slots=True, eq=False)
class _Cancel:
    """One cancel without its reply, the *starts* that it covers, and its stops by execution."""

    opened: OpenRequest
    target: int
    starts: list[OpenStart]
    stops: dict[str, _Stop] = field(default_factory=dict)


class Cancellation:
    """
    Carries out cancels.

    Args:
        rows: Gathers what is to be done after the commit.
        ledger: Where states and replies are recorded.
        pending: Starts without a run.
        runs: Runs without an outcome.
        tracker: Executions that have not ended.
        post_workers: Ask the server to stop a task.
        withdraw: Takes a run back that no thread has begun to post; False if it is too late.
        longest_pause: Seconds between two attempts to stop, at most.
        deadline: Seconds for which stopping is tried while the server cannot be reached.
    """

    def __init__(
        self,
        rows: UnitOfWork,
        ledger: Ledger,
        *,
        pending: PendingStarts,
        runs: OpenRuns,
        tracker: ExecutionTracker,
        post_workers: PostWorkers,
        withdraw: Callable[[int], bool],
        longest_pause: float,
        deadline: float,
    ) -> None:
        self._rows = rows
        self._ledger = ledger
        self._pending = pending
        self._runs = runs
        self._tracker = tracker
        self._post_workers = post_workers
        self._withdraw = withdraw
        self._longest_pause = longest_pause
        self._deadline = deadline
        self._cancels: list[_Cancel] = []
        #: Cancels, by row, that a fault of ours kept from being carried out.
        self.broken: set[int] = set()

    def __len__(self) -> int:
        return len(self._cancels)

    def reset(self) -> None:
        """Forget all cancels; they are read again from the journal."""
        self._cancels.clear()

    def open_starts(self, request_row: int) -> list[OpenStart]:
        """Return the starts of a request that have no outcome, or whose executions have not ended."""
        staged = self._ledger.stages.open.get(request_row)
        of_stages = staged.starts() if staged is not None else ()
        everything = chain(self._pending.starts(), self._runs.starts(), self._tracker.starts(), of_stages)
        return list({one.id: one for one in everything if one.request_row == request_row}.values())

    def begin(self, opened: OpenRequest, target: int, starts: Iterable[OpenStart]) -> None:
        """
        Carry out the cancel *opened*; it has its reply at once, or as `step` goes on.

        Args:
            opened: The cancel.
            target: The row of the request that it cancels.
            starts: Those of that request, all that are open.
        """
        covered = [start for start in starts if start.state in _NOT_BEGUN or _goes_on(start)]
        # Read from the journal after a restart, it has cancelled or stopped some already.
        covered += [start for start in starts if start.cancelled_by == opened.id and start not in covered]
        cancel = _Cancel(opened, target, covered)
        for start in covered:
            if start.cancelled_by == opened.id and start.execution_id is not None:
                cancel.stops[start.execution_id] = _Stop(asked=True)
        staged = self._ledger.stages.open.get(target)
        if staged is not None:
            # Also those without starts: their selectors may mean tasks by the time their turn comes.
            self._ledger.stages.give_up(staged)
        self._cancels.append(cancel)
        self._continue(cancel)
        if cancel in self._cancels:
            self._ledger.requests.goes_on(opened)

    def step(self) -> None:
        """Go on with cancels that have no reply, after what else happened in this turn."""
        for cancel in list(self._cancels):
            with self.watched(cancel.opened):
                self._continue(cancel)

    @contextlib.contextmanager
    def watched(self, opened: OpenRequest) -> Iterator[None]:
        """Note the cancel *opened* as broken when a fault of ours leaves the block."""
        try:
            yield
        except Exception as error:
            # Half of it is in the unit of work, so the turn has to fail; repeated, it refuses this one.
            if not is_of_the_journal(error):
                _log.exception(
                    "request %s cannot be carried out and is refused",
                    opened.request_id,
                    extra={"action": "bug", "request_id": opened.request_id},
                )
                self.broken.add(opened.id)
            raise

    def stop_asked(self, event: StopAsked) -> None:
        """Apply what came of asking the server to stop a task."""
        for cancel in self._cancels:
            stop = cancel.stops.get(event.execution_id)
            if stop is None or not stop.in_flight:
                continue
            stop.in_flight = False
            match event.outcome:
                case StopOutcome.ASKED:
                    stop.asked = stop.done = True
                    self._tracker.hurry(event.execution_id)
                case StopOutcome.OVER:
                    stop.over = True
                case StopOutcome.NOT_ALONE:
                    details = "another execution of the task runs as well, and Qlik Sense stops both"
                    stop.why_not = ("not_stopped", details)
                case error:
                    self._failed(cancel, stop, error)

    # ---- helpers

    def _continue(self, cancel: _Cancel) -> None:
        """Take back what can be, have stopped what is to be, and reply if nothing is left to do."""
        back = {start: None for start in cancel.starts if start.state in _NOT_BEGUN}.keys()
        if back:
            self._take_back(cancel, back)
        if cancel.opened.request.stop_running:
            for start in cancel.starts:
                if _goes_on(start):
                    self._stop(cancel, start)
        if not any(self._unsettled(cancel, start) for start in cancel.starts):
            self._cancels.remove(cancel)
            self._answer(cancel)

    def _take_back(self, cancel: _Cancel, starts: Set[OpenStart]) -> None:
        """Cancel those of *starts*, in order, of which certainly nothing began."""
        in_runs = self._runs.withdraw(starts, self._withdraw)
        details = f"it was taken back by request {cancel.opened.request_id} before it began"
        gone = [start for start in starts if start not in in_runs]
        self._pending.withdraw(gone)
        self._ledger.starts.covered_by(gone, cancel.opened.id)
        for start in gone:
            self._ledger.starts.dropped([start], "cancelled", details, StartState.CANCELLED)

    def _stop(self, cancel: _Cancel, start: OpenStart) -> None:
        """Ask the server to stop the task of *start*, where its request alone began what runs."""
        execution_id = start.execution_id or ""
        if start.adopted or self._others(cancel, start):
            return
        stop = cancel.stops.setdefault(execution_id, _Stop())
        if self._pending.may_share(start.task.id, cancel.target):
            # A start of another request may turn out to be served by it: looked at again in each turn.
            return
        if stop.in_flight or stop.done or stop.over or stop.why_not is not None:
            return
        if time.monotonic() < stop.again_at:
            return
        stop.in_flight = True
        if start.cancelled_by != cancel.opened.id:
            self._ledger.starts.covered_by([start], cancel.opened.id)
        self._rows.after(self._post_workers.ask_stop, start.task, execution_id)

    def _failed(self, cancel: _Cancel, stop: _Stop, error: QlikError) -> None:
        if isinstance(error, QlikRefused):
            refusal = refused_by_qlik(error)
            stop.why_not = (refusal.code, refusal.details)
            return
        stop.failures += 1
        # It may have had effect; the next attempt begins with what the server shows.
        stop.asked = True
        stop.again_at = time.monotonic() + min(self._longest_pause, pause_after(stop.failures))
        if time.monotonic() - cancel.opened.entered >= self._deadline:
            stop.why_not = ("qrs_unavailable", f"the Qlik server could not be asked to stop it: {error}")

    def _unsettled(self, cancel: _Cancel, start: OpenStart) -> bool:
        """Return whether it is not known yet which list of the reply *start* belongs to."""
        if start.state in _NOT_BEGUN:
            return True
        stop = cancel.stops.get(start.execution_id or "")
        if stop is None or not _goes_on(start):
            return False
        if stop.over:
            # Whether it ended by being stopped the tracker will see.
            return stop.asked
        if stop.done or stop.why_not is not None:
            return False
        # One that serves another request by now is left running.
        return stop.in_flight or not (start.adopted or self._others(cancel, start))

    def _others(self, cancel: _Cancel, start: OpenStart) -> list[OpenStart]:
        """Return the starts of other requests that the execution of *start* serves."""
        watch = self._tracker.get(start.execution_id or "")
        return [one for one in (watch.starts if watch else ()) if one.request_row != cancel.target]

    def _goes_on_with(self, cancel: _Cancel, start: OpenStart, stop: _Stop) -> GoesOn:
        """Return what the reply says of *start*: requests of other senders are not named to this one."""
        others = self._others(cancel, start)
        identity = cancel.opened.identity
        named = {one.request_id for one in others if senders.may_cancel(identity, one.identity)}
        return GoesOn(start, sorted(named) if others else None, stop.why_not)

    def _answer(self, cancel: _Cancel) -> None:
        cancelled: list[OpenStart] = []
        stopped: list[OpenStart] = []
        running: list[GoesOn] = []
        for start in cancel.starts:
            stop = cancel.stops.get(start.execution_id or "", _Stop())
            if start.state is StartState.CANCELLED:
                cancelled.append(start)
            elif stop.done or (stop.asked and start.state is StartState.ABORTED):
                stopped.append(start)
            elif start.state is StartState.UNKNOWN and start.execution_id is None:
                running.append(GoesOn(start, None, ("outcome_unknown", start.details or "")))
            elif _goes_on(start) and not stop.over:
                running.append(self._goes_on_with(cancel, start, stop))
        opened = cancel.opened
        answer = cancel_replies.reply(opened, cancelled, stopped, running)
        self._ledger.requests.answered(opened, answer)
        _log.info(
            "request %s cancelled request %s: %s tasks taken back, %s stopped, %s run on",
            opened.request_id,
            opened.request.cancel,
            len(cancelled),
            len(stopped),
            len(running),
            extra={"action": "request_cancelled", "request_id": opened.request_id},
        )


def _goes_on(start: OpenStart) -> bool:
    """Return whether the execution of *start* is tracked and has not ended."""
    return start.state is StartState.RUNNING and start.execution_id is not None
