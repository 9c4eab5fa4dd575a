"""Starts that met an execution which others began: they share it, leave it alone, or wait behind it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from butler_mqtt.domain.model import Execution
from butler_mqtt.domain.open_work import OpenStart, Run
from butler_mqtt.domain.reconciliation import began_after_reading
from butler_mqtt.domain.states import StartState
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.starting.execution_tracker import ExecutionTracker
from butler_mqtt.starting.pending_starts import PendingStarts

_log = logging.getLogger("butler_mqtt.open_runs")


class BusyTasks:
    """
    Decides about each start of a run that began nothing, since something ran already.

    Args:
        ledger: Where that is recorded.
        pending: Where those go that wait.
        tracker: Tracks the execution that they met.
    """

    def __init__(self, ledger: Ledger, pending: PendingStarts, tracker: ExecutionTracker) -> None:
        self._ledger = ledger
        self._pending = pending
        self._tracker = tracker

    def ran_already(self, run: Run, execution: Execution) -> None:
        """Let the starts of a run that met a running execution of its task share it, skip, or wait."""
        shared = [start for start in run.starts if _serves(execution, start)]
        others = [start for start in run.starts if start not in shared]
        if shared and execution.id is not None:
            self._share(run, execution.id, shared)
        else:
            others = run.starts
            self._ledger.runs.began_nothing(run)
        self._skip_or_wait(run, others, execution)

    def app_runs(self, run: Run, execution: Execution) -> None:
        """Let the starts of a run skip, or wait behind, an execution of another task of their app."""
        _log.info(
            "task %s (%s) is not started yet: execution %s of task %s, which reloads the same app, runs",
            run.task.name,
            run.task.id,
            execution.id,
            execution.task_id,
            extra={"action": "app_busy", "request_id": run.starts[0].request_id},
        )
        self._ledger.runs.began_nothing(run)
        self._skip_or_wait(run, run.starts, execution, running_task=execution.task_id)

    def _skip_or_wait(
        self, run: Run, starts: Sequence[OpenStart], execution: Execution, running_task: str | None = None
    ) -> None:
        """Leave the execution alone for those that ask for it, whose stages wait for it; others wait."""
        skipped = [start for start in starts if start.skip_if_running]
        self._ledger.starts.skipped(skipped, execution.id, running_task=running_task)
        in_stages = [start for start in skipped if start.stage is not None]
        if in_stages and execution.id is not None:
            self._tracker.await_result(execution.id, run.task, in_stages)
        waiting = [start for start in starts if not start.skip_if_running]
        self._pending.wait_behind(run.task, waiting, execution.id)

    def _share(self, run: Run, execution_id: str, starts: list[OpenStart]) -> None:
        """Let an execution that another began serve *starts* too."""
        watch = self._tracker.get(execution_id)
        if watch is not None and watch.run is not None:
            self._ledger.runs.began_nothing(run)
            self._ledger.starts.running(starts, watch.run, execution_id, adopted=True)
            watch.starts.extend(starts)
        else:
            run.starts = starts
            self._ledger.runs.executing(run, execution_id, adopted=True)
            self._tracker.track(execution_id, run.task, run.id, starts, {"started"})


def _serves(execution: Execution, start: OpenStart) -> bool:
    """Return whether an execution that another began certainly began after *start* came; ids decide."""
    if start.state is StartState.WAITING and start.reason == "running":
        # What it waits behind was seen to run after it came, and a task runs once at a time.
        return start.seen_behind and start.behind is not None and execution.id != start.behind
    if start.first_read is not None and began_after_reading(execution, start.first_read):
        return True
    read_after = not start.found_before and not start.unread
    return read_after and began_after_reading(execution, start.task)
